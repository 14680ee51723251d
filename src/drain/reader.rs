//! The single thread that reads the released records of the log for all workers.
//!
//! Most workers read at the *front*. Each record there is read once and put into the queue of its worker. A full
//! queue stops the front in two cases: no other worker is short of records, or the queue's own worker is merely busy.
//! Otherwise the front continues without that queue. Two kinds of records are read by passes *behind* the front:
//! those that a queue missed, and those that a worker returned to. Each such pass begins at the position of one queue
//! and serves every queue at a higher position.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::backoff::Backoff;
use crate::drain::control::Control;
use crate::drain::metrics::Metrics;
use crate::drain::notify::IDLE_WAIT;
use crate::drain::queue::{QueueView, WorkerQueues};
use crate::drain::read_pass::ReadPass;
use crate::drain::release_pacer::{FULL_BATCH_RECORDS, ReleasePacer};
use crate::status::Statuses;
use crate::wal::{Cursor, Log, ReadError};

/// Records read per pass: about a millisecond, for which the front waits during a pass behind it.
const RECORDS_PER_PASS: u64 = 2048;
/// Maximum time for which a full queue stops the front. A busy worker takes an eighth of its full queue in this time.
/// Other workers do not wait longer for a slower one.
const MAX_HOLD: Duration = Duration::from_millis(500);

/// A position in the log, with a pause after a read error.
struct ReadCursor {
    cursor: Cursor,
    read_at: Instant,
    backoff: Backoff,
}

impl ReadCursor {
    /// Handles the end of a pass. Returns the pause after a failed one.
    fn finish_pass(&mut self, outcome: Result<(), ReadError>, now: Instant) -> Option<Duration> {
        let Err(error) = outcome else {
            self.backoff.reset();
            return None;
        };
        let delay = self.backoff.delay();
        self.read_at = now + delay;
        tracing::error!(
            event = "drain.read_failed",
            %error,
            drain.delay_ms = delay.as_millis() as u64,
            "log could not be read; will retry"
        );
        Some(delay)
    }
}

/// Since when a full queue stops the front, and how much its worker had taken by then.
#[derive(Clone, Copy)]
struct FrontHold {
    since: Instant,
    taken: u64,
}

/// Dependencies of the reader.
pub(super) struct ReaderParts {
    pub(super) log: Arc<Log>,
    pub(super) queues: Arc<WorkerQueues>,
    pub(super) control: Arc<Control>,
    pub(super) pacer: ReleasePacer,
    /// Knows which records a client waits for.
    pub(super) statuses: Statuses,
}

impl ReaderParts {
    pub(super) fn new(
        log: Arc<Log>,
        queues: Arc<WorkerQueues>,
        control: Arc<Control>,
        pacer: ReleasePacer,
        statuses: Statuses,
    ) -> Self {
        Self { log, queues, control, pacer, statuses }
    }
}

pub(super) struct Reader {
    parts: ReaderParts,
    front: ReadCursor,
    trailing: ReadCursor,
    holds: Vec<Option<FrontHold>>,
    /// For each queue, the number of the last pass behind the front that began at it.
    begun: Vec<u64>,
    passes: u64,
    /// How often the front continued without a full queue.
    skipped_queues: IntCounter,
}

impl Reader {
    pub(super) fn new(parts: ReaderParts, backoff: &Backoff, metrics: &Metrics) -> Self {
        let left_behind = metrics.queue_hit.clone();
        let (from, read_at) = (parts.log.watermark(), Instant::now());
        let way = || ReadCursor { cursor: parts.log.cursor(from), read_at, backoff: backoff.clone() };
        let (front, behind, count) = (way(), way(), parts.queues.all().len());
        let (holds, begun) = (vec![None; count], vec![0; count]);
        Self { parts, front, trailing: behind, holds, begun, passes: 0, skipped_queues: left_behind }
    }

    /// Reads until a stop is requested. `beats` grows at least once per second meanwhile.
    pub(super) fn run(mut self, beats: &AtomicU64) {
        while self.parts.control.stop_by().is_none() {
            beats.fetch_add(1, Ordering::Relaxed);
            self.parts.queues.clear_reader_calls();
            let now = Instant::now();
            let gathers = self.release(now);
            if let Some(rest) = self.turn(now) {
                self.wait(gathers, rest.min(IDLE_WAIT));
            }
        }
    }

    /// Releases new records if the pacer allows it. Otherwise returns how long they are still to be gathered.
    fn release(&mut self, now: Instant) -> Option<Duration> {
        let ReaderParts { log, control, pacer, statuses, .. } = &mut self.parts;
        let (released, end) = (control.released(), log.end());
        if end <= released {
            return None;
        }
        let left = pacer.gather_time(end.0 - released.0, statuses.last_awaited() >= released, now);
        if left.is_none() {
            control.release(end);
            pacer.on_released(now);
        }
        left
    }

    /// Waits until there is a record to release, a worker wakes the reader, or `rest` has passed.
    fn wait(&self, gathers: Option<Duration>, rest: Duration) {
        let ReaderParts { log, queues, control, statuses, .. } = &self.parts;
        let released = control.released();
        let is_called = || queues.is_reader_called() || control.stop_by().is_some();
        match gathers {
            None => log.wait_for_or_interrupt(released, rest, is_called),
            Some(left) => {
                let is_awaited = || statuses.last_awaited() >= released;
                log.wait_for_or_interrupt(released.plus(FULL_BATCH_RECORDS - 1), rest.min(left), || {
                    is_called() || is_awaited()
                })
            }
        };
    }

    /// Runs a pass at the front and one behind it. If neither made progress, returns how long to wait.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        // Set before the queues are checked, so that a worker that finds its queue empty afterwards wakes the reader.
        self.parts.queues.set_blocked(true);
        let (front, behind) = (self.read_front(now), self.read_trailing(now));
        if self.front.cursor.position() >= self.parts.control.released() {
            self.parts.queues.set_blocked(false);
        }
        Some(front?.min(behind?))
    }

    /// Runs a pass at the front, for the queues there. Returns `None` if it made progress.
    fn read_front(&mut self, now: Instant) -> Option<Duration> {
        let queues = Arc::clone(&self.parts.queues);
        let from = self.front.cursor.position();
        let mut pass = ReadPass::new(&queues, |view| view.next >= from);
        if now < self.front.read_at {
            return Some(self.front.read_at - now);
        }
        let end = self.parts.control.released();
        if from >= end || pass.is_over() {
            return Some(IDLE_WAIT);
        }
        let (mut most, mut rest) = (RECORDS_PER_PASS.min(end.0 - from.0), None);
        let outcome = loop {
            let frame = match pass.read(&mut self.front.cursor, &mut most) {
                Ok(Some(frame)) => frame,
                end => break end.map(|_| ()),
            };
            for index in queues.for_lane(frame.lane) {
                if pass.offer(index, frame) {
                    let patience = remaining_hold(&mut self.holds[index], &pass, queues.view(index), now);
                    rest = rest.max(patience);
                    self.skipped_queues.inc_by(u64::from(patience.is_none()));
                }
            }
            if rest.is_some() {
                self.front.cursor.step_back();
                break Ok(());
            }
        };
        let position = self.front.cursor.position();
        pass.finish(position);
        let delay = self.front.finish_pass(outcome, now);
        if position > from { None } else { delay.or(rest) }
    }

    /// Runs a pass behind the front. It begins at the queue with free space at which no pass has begun for the
    /// longest time. Returns `None` if there was such a queue.
    fn read_trailing(&mut self, now: Instant) -> Option<Duration> {
        if now < self.trailing.read_at {
            return Some(self.trailing.read_at - now);
        }
        let queues = Arc::clone(&self.parts.queues);
        let front = self.front.cursor.position();
        let mut pass = ReadPass::new(&queues, |view| view.next < front && !view.is_full);
        let Some((first, from)) =
            pass.active_queues().min_by_key(|(index, next)| (self.begun[*index], *next))
        else {
            return Some(IDLE_WAIT);
        };
        pass.begin_at(from);
        self.passes += 1;
        self.begun[first] = self.passes;
        if self.trailing.cursor.position() != from {
            self.trailing.cursor = self.parts.log.cursor(from);
        }
        let mut most = RECORDS_PER_PASS.min(front.0 - from.0);
        let outcome = loop {
            let frame = match pass.read(&mut self.trailing.cursor, &mut most) {
                Ok(Some(frame)) => frame,
                end => break end.map(|_| ()),
            };
            for index in queues.for_lane(frame.lane) {
                pass.offer(index, frame);
            }
            if pass.is_over() {
                break Ok(());
            }
        };
        pass.finish(self.trailing.cursor.position());
        self.trailing.finish_pass(outcome, now)
    }
}

/// How long a full queue may still stop the front; `None` if no longer.
fn remaining_hold(
    hold: &mut Option<FrontHold>,
    pass: &ReadPass<'_>,
    full: QueueView,
    now: Instant,
) -> Option<Duration> {
    if !pass.has_idle_worker() {
        *hold = None;
        return Some(IDLE_WAIT);
    }
    let fresh = FrontHold { since: now, taken: full.taken };
    let FrontHold { since, taken } = *hold.get_or_insert(fresh);
    let left = MAX_HOLD.saturating_sub(now.saturating_duration_since(since));
    if left.is_zero() {
        let is_busy = full.taken - taken >= (full.bytes / 8).max(1);
        if is_busy {
            *hold = Some(fresh);
        }
        return is_busy.then_some(MAX_HOLD);
    }
    Some(left)
}
