//! One worker with exactly-once delivery: a thread with its own lanes and its own transactional id.

use std::time::{Duration, Instant};

use super::lane_positions::LanePositions;
use super::takeover::mark_done;
use super::tx_producer::{StoredPositions, TxProducer};
use super::tx_sender::TxSender;
use crate::backoff::Backoff;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::handle::Handle;
use crate::drain::lane_reader::{Disposition, LaneReader, RECORDS_PER_TURN, ReadSide};
use crate::drain::lanes::Lanes;
use crate::drain::monitor::state_name;
use crate::drain::notify::{ACTIVE_WAIT, IDLE_WAIT};
use crate::drain::partition_in_flight::STALLED_AFTER;
use crate::drain::worker_parts::WorkerParts;
use crate::failpoint::Failpoint;
use crate::kafka::ClientError;

pub(in crate::drain) struct Worker {
    lanes: Lanes,
    handle: Handle,
    interval: Duration,
    dispatcher: Dispatcher<TxSender>,
    reader: LaneReader,
    /// After a failure, no transaction begins before this time.
    pause_until: Instant,
    backoff: Backoff,
}

/// Result of an attempt to fill the transaction.
#[derive(PartialEq, Eq)]
enum FillResult {
    /// More records are available.
    More,
    /// An event must happen first.
    Blocked,
    /// All records were offered.
    Exhausted,
}

impl Worker {
    pub(in crate::drain) fn new(its: WorkerParts<'_>) -> Result<Self, ClientError> {
        let identity = its.context.log.identity();
        let producer = TxProducer::new(
            its.producer_settings,
            &its.monitor().notify,
            identity,
            its.lanes.index,
            its.config.backoff(),
        )?;
        let (feed, state) = (its.head(), its.state());
        let limit = state.in_flight.limit();
        let sender = TxSender::new(identity.incarnation, producer, limit, its.config.backoff());
        Ok(Self {
            lanes: its.lanes,
            interval: its.config.transaction_interval.0,
            dispatcher: Dispatcher::new(state, sender),
            reader: feed,
            pause_until: Instant::now(),
            backoff: its.config.backoff(),
            handle: its.handle,
        })
    }

    /// Runs until a stop is requested.
    pub(in crate::drain) fn run(mut self) {
        loop {
            self.handle.monitor(self.lanes).beat();
            let now = Instant::now();
            if let Some(deadline) = self.handle.control.stop_by() {
                self.finish(deadline);
                return;
            }
            let is_paused = self.handle.is_paused();
            let more = self.is_ready(now) && self.turn(is_paused, now);
            self.publish(is_paused, more, now);
            if !more {
                let Dispatcher { state, sender } = &self.dispatcher;
                let is_quiet = sender.transaction.is_none()
                    && sender.held_lanes.is_empty()
                    && !state.policy.must_store_dead_letters();
                let is_quiet = is_quiet && self.dispatcher.is_connected() && !self.reader.is_waiting();
                let producer = &sender.producer;
                if is_quiet { producer.wait(IDLE_WAIT) } else { producer.wait_and_gather(ACTIVE_WAIT) }
            }
        }
    }

    /// Whether a producer exists. Creates one if that is due.
    fn is_ready(&mut self, now: Instant) -> bool {
        if !self.handle.permit.is_granted() {
            if self.dispatcher.is_connected() {
                self.dispatcher.sender.producer.close(now);
            }
            return false;
        }
        if self.dispatcher.is_connected() {
            return true;
        }
        self.publish(false, false, now);
        let (handle, dispatcher) = (self.handle.clone(), &mut self.dispatcher);
        let mut tick = tick(&handle, self.lanes);
        let Some(found) = dispatcher.sender.producer.open(now, &mut tick) else { return false };
        match found {
            StoredPositions::Foreign(incarnation) => {
                handle.permit.halt(format!("incarnation {incarnation} of this log took over"));
                dispatcher.sender.producer.close(now);
                return false;
            }
            StoredPositions::Own(_) if Failpoint::GuessCommit.is_set() => {
                dispatcher.resolve_commit(&LanePositions::default())
            }
            StoredPositions::Own(positions) => {
                dispatcher.resolve_commit(&positions);
                if positions != dispatcher.sender.committed {
                    dispatcher.sender.committed = positions;
                    // Records that this log's own checkpoint does not contain yet.
                    let marked =
                        mark_done(&dispatcher.state.context, &dispatcher.sender.committed, &mut tick);
                    if let Err(error) = marked {
                        tracing::error!(event = "drain.read_failed", %error, "log could not be read; will retry");
                        dispatcher.sender.producer.close(now);
                        return false;
                    }
                }
            }
            StoredPositions::Missing => {
                tracing::error!(
                    event = "drain.positions_lost",
                    "positions in Kafka are missing; delivery continues from the positions in memory"
                );
                dispatcher.resolve_commit(&LanePositions::default());
            }
        }
        dispatcher.sender.reread = Some(dispatcher.state.context.log.watermark());
        true
    }

    /// Runs one turn. Returns whether more work is available immediately.
    fn turn(&mut self, is_paused: bool, now: Instant) -> bool {
        let handle = self.handle.clone();
        let mut tick = tick(&handle, self.lanes);
        self.dispatcher.collect(now);
        self.dispatcher.state.values.take_completions();
        self.dispatcher.check_for_stalls(now);
        if self.dispatcher.must_replace_producer() {
            let is_known = self.dispatcher.end_failed(now, &mut tick);
            self.pause_until = if is_known { now } else { now + self.backoff.delay() };
        }
        self.dispatcher.store_dead_letters(now);
        self.dispatcher.refresh_topics(now);
        let may_fill = !is_paused && now >= self.pause_until;
        let filled = if may_fill { self.fill(now) } else { FillResult::Blocked };
        self.dispatcher.store_dead_letters(now);
        let Dispatcher { state, sender } = &mut self.dispatcher;
        let Some(run) = &sender.transaction else { return filled == FillResult::More };
        let is_due =
            filled == FillResult::Exhausted || is_paused || sender.is_full || run.is_due(self.interval, now);
        if !run.is_closed && is_due {
            sender.send_positions(state);
        }
        if self.dispatcher.is_fully_confirmed() {
            self.dispatcher.commit(now, &mut tick);
            self.dispatcher.sender.is_full = false;
            self.backoff.reset();
            return true;
        }
        filled == FillResult::More
    }

    fn fill(&mut self, now: Instant) -> FillResult {
        if self.dispatcher.sender.transaction.is_none() {
            self.rewind(now);
        }
        for _ in 0..RECORDS_PER_TURN {
            let dispatcher = &mut self.dispatcher;
            let is_closed = dispatcher.sender.transaction.as_ref().is_some_and(|run| run.is_closed);
            if dispatcher.state.must_replace_producer || is_closed {
                return FillResult::Blocked;
            }
            match self.reader.advance(|frame| dispatcher.dispatch(ReadSide::Main, frame)) {
                Some(Disposition::Processed) => {}
                Some(Disposition::Wait) => return FillResult::Blocked,
                None => {
                    self.dispatcher.end_rescan(now);
                    return FillResult::Exhausted;
                }
            }
        }
        FillResult::More
    }

    /// Between two transactions: goes back to aborted records, or to held records whose cause is gone.
    fn rewind(&mut self, now: Instant) {
        let released = self.dispatcher.release_lanes(now);
        let first = released.into_iter().chain(self.dispatcher.sender.reread.take()).min();
        if let Some(first) = first.filter(|first| *first < self.reader.position()) {
            self.reader.seek(first);
        }
    }

    /// Handles a stop: commits the open transaction if that succeeds soon. Otherwise the brokers and the next start
    /// abort it.
    fn finish(&mut self, deadline: Instant) {
        let since = Instant::now();
        let (handle, lanes) = (self.handle.clone(), self.lanes);
        let mut tick = || {
            handle.monitor(lanes).beat();
            Instant::now() < deadline
        };
        loop {
            let now = Instant::now();
            self.dispatcher.collect(now);
            let Dispatcher { state, sender } = &mut self.dispatcher;
            let Some(run) = &sender.transaction else { return };
            let is_quiet = now.duration_since(since.max(state.confirmed_at)) >= STALLED_AFTER;
            if state.must_replace_producer || is_quiet || !tick() {
                self.dispatcher.end_failed(now, &mut || tick() && since.elapsed() < STALLED_AFTER * 2);
                return;
            }
            if !run.is_closed {
                sender.send_positions(state);
            }
            self.dispatcher.store_dead_letters(now);
            if self.dispatcher.is_fully_confirmed() {
                self.dispatcher.commit(now, &mut tick);
                return;
            }
            self.dispatcher.sender.producer.wait(ACTIVE_WAIT);
        }
    }

    fn publish(&mut self, is_paused: bool, more: bool, now: Instant) {
        let Dispatcher { state, sender } = &mut self.dispatcher;
        let head = Some(self.reader.position()).filter(|position| *position < state.context.log.end());
        let lowest = [sender.transaction.as_ref().map(|run| run.from), head];
        let activity =
            state_name(is_paused, sender.producer.producer().is_some(), more || sender.transaction.is_some());
        let oldest = lowest.into_iter().flatten().min();
        let monitor = self.handle.monitor(self.lanes);
        monitor.state().denied = sender.producer.denied.clone();
        state.publish(monitor, activity, oldest, sender.held_lanes.parked(), now);
    }
}

/// Sends heartbeats during blocking calls, and ends those calls when the daemon stops.
fn tick(handle: &Handle, lanes: Lanes) -> impl FnMut() -> bool + use<'_> {
    move || {
        handle.monitor(lanes).beat();
        handle.control.stop_by().is_none()
    }
}
