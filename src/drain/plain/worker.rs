//! One worker with at-least-once delivery: a thread with its own producers and its own lanes.
//!
//! Each turn processes delivery reports, fetches metadata of topics, opens parked ranges whose cause is gone, sends
//! as many records as the in-flight limit allows, and then waits for a notification.

use std::time::Instant;

use super::plain_sender::PlainSender;
use super::reconnecting_producer::ReconnectingProducer;
use super::topic_readers::TopicReaders;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::handle::Handle;
use crate::drain::lane_reader::{Disposition, LaneReader, RECORDS_PER_TURN, ReadSide};
use crate::drain::lanes::Lanes;
use crate::drain::monitor::{WorkerMonitor, state_name};
use crate::drain::notify::{ACTIVE_WAIT, IDLE_WAIT};
use crate::drain::partition_in_flight::STALLED_AFTER;
use crate::drain::worker_parts::WorkerParts;
use crate::kafka::{ClientError, GapPolicy};
use crate::wal::Lsn;

pub(in crate::drain) struct Worker {
    lanes: Lanes,
    handle: Handle,
    dispatcher: Dispatcher<PlainSender>,
    head: LaneReader,
    catch_up: Option<LaneReader>,
    topic_readers: TopicReaders,
}

impl Worker {
    pub(in crate::drain) fn new(its: WorkerParts<'_>) -> Result<Self, ClientError> {
        let outlet = |guarantee| {
            ReconnectingProducer::new(
                its.producer_settings,
                guarantee,
                &its.monitor().notify,
                its.config.backoff(),
            )
        };
        let mut main = outlet(GapPolicy::Gapless);
        // Built here so that wrong settings are reported at the start, and the producer has its id when the first
        // record arrives.
        main.build()?;
        let sender = PlainSender::new(main, outlet(GapPolicy::AllowGaps));
        let dispatcher = Dispatcher::new(its.state(), sender);
        let asides = TopicReaders::new(&its.context.log, its.lanes, its.config.backoff());
        let head = its.head();
        Ok(Self {
            lanes: its.lanes,
            handle: its.handle,
            dispatcher,
            head,
            catch_up: None,
            topic_readers: asides,
        })
    }

    /// Runs until a stop is requested.
    pub(in crate::drain) fn run(mut self) {
        let mut stopping = None;
        loop {
            self.monitor().beat();
            let now = Instant::now();
            self.dispatcher.collect(now);
            self.monitor().beat();
            if let Some(deadline) = self.handle.control.stop_by() {
                let since = *stopping.get_or_insert(now);
                if self.may_exit(since, deadline, now) {
                    self.dispatcher.store_dead_letters(now);
                    return;
                }
            }
            let is_paused = stopping.is_some() || !self.handle.may_send();
            let more = !is_paused && self.run_turn(now);
            self.dispatcher.store_gathered_dead_letters(now);
            self.publish(is_paused, more, now);
            if !more {
                let is_quiet =
                    self.dispatcher.is_idle() && self.catch_up.is_none() && !self.head.is_waiting();
                let is_quiet = is_quiet && self.topic_readers.is_empty();
                self.monitor().notify.wait(if is_quiet { IDLE_WAIT } else { ACTIVE_WAIT });
            }
        }
    }

    fn monitor(&self) -> &WorkerMonitor {
        self.handle.monitor(self.lanes)
    }

    /// Whether no record is in flight any more, or those in flight will not be confirmed in time.
    fn may_exit(&self, since: Instant, deadline: Instant, now: Instant) -> bool {
        let state = &self.dispatcher.state;
        let quiet_since = since.max(state.confirmed_at);
        state.in_flight.len() == 0 || now >= deadline || now.duration_since(quiet_since) >= STALLED_AFTER
    }

    /// Runs one turn. Returns whether more work is available immediately.
    fn run_turn(&mut self, now: Instant) -> bool {
        self.dispatcher.run_maintenance(now);
        for (side, first) in self.dispatcher.unpark(now) {
            match side {
                ReadSide::Topic(topic) => self.topic_readers.rewind(topic, first),
                ReadSide::CatchUp | ReadSide::Main => self.rewind(first),
            }
        }
        if let Some(first) =
            self.dispatcher.unpark_keys(self.catch_up.as_ref().map(LaneReader::position), now)
        {
            self.rewind(first);
            self.topic_readers.rewind_all(first);
        }
        let more = self.read_records();
        self.end_catch_up(now);
        self.topic_readers.advance(&mut self.dispatcher, self.head.position(), now) || more
    }

    /// Ends the catch-up reader if no record before the head waits for it.
    fn end_catch_up(&mut self, now: Instant) {
        if let Some(feed) = &self.catch_up
            && self.dispatcher.is_caught_up(feed.position())
        {
            self.catch_up = None;
        }
        if self.catch_up.is_none() {
            self.dispatcher.end_rescan(now);
        }
    }

    /// Makes the catch-up reader begin no later than at this record.
    fn rewind(&mut self, first: Lsn) {
        match &mut self.catch_up {
            Some(feed) if first >= feed.position() => {}
            Some(feed) => feed.seek(first),
            None => {
                let queue = self.handle.queues.catch_up(self.lanes.index);
                self.catch_up = Some(LaneReader::new(&self.dispatcher.state.context.log, queue, first));
            }
        }
    }

    fn read_records(&mut self) -> bool {
        for _ in 0..RECORDS_PER_TURN {
            // The readers alternate, so that neither starves the other.
            let moved = self.step_catch_up();
            if !(self.step_head() || moved) {
                return false;
            }
            if self.dispatcher.must_replace_producer() {
                break;
            }
        }
        true
    }

    fn step_head(&mut self) -> bool {
        let dispatcher = &mut self.dispatcher;
        self.head.advance(|frame| dispatcher.dispatch(ReadSide::Main, frame)) == Some(Disposition::Processed)
    }

    fn step_catch_up(&mut self) -> bool {
        let Some(feed) = &mut self.catch_up else { return false };
        let (dispatcher, head) = (&mut self.dispatcher, self.head.position());
        let mut met = feed.position() >= head;
        if !met {
            let step = feed.advance(|frame| {
                met = frame.lsn >= head;
                if met { Disposition::Processed } else { dispatcher.dispatch(ReadSide::CatchUp, frame) }
            });
            met |= step.is_none();
            if !met {
                return step == Some(Disposition::Processed);
            }
        }
        self.dispatcher.on_caught_up(ReadSide::CatchUp, head);
        self.catch_up = None;
        true
    }

    fn publish(&mut self, is_paused: bool, more: bool, now: Instant) {
        let Dispatcher { state, sender } = &mut self.dispatcher;
        let head = Some(self.head.position()).filter(|position| *position < state.context.log.end());
        let behind = self.catch_up.as_ref().map(LaneReader::position);
        let lowest = [state.in_flight.lowest_waiting(), behind, self.topic_readers.position(), head];
        let activity =
            state_name(is_paused, sender.main.producer().is_some(), more || state.in_flight.len() > 0);
        let oldest = lowest.into_iter().flatten().min();
        let monitor = self.handle.monitor(self.lanes);
        monitor.state().denied = sender.main.denied().or(sender.solo.denied()).cloned();
        state.publish(monitor, activity, oldest, sender.parked(), now);
    }
}
