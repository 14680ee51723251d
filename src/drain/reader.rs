//! The one thread that reads the log for all workers: those of its records that are released.
//!
//! The *front* is where most workers are: each record there is read once and put into the queue of its worker. A queue
//! that is full holds the front while no other worker is short of records, or while its own worker is merely busy. Else
//! the front goes on without it. The records it missed, and those that workers go back to, are read by passes *behind*
//! the front: each begins where one queue stands and serves every queue that stands further on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::backoff::Backoff;
use crate::drain::control::Control;
use crate::drain::metrics::Metrics;
use crate::drain::notify::IDLE;
use crate::drain::pacer::{FULL, Pacer};
use crate::drain::pass::Pass;
use crate::drain::queue::{Queues, View};
use crate::status::Statuses;
use crate::wal::{Cursor, Log, ReadError};

/// Records read in one pass: about a millisecond, for which the front waits while a pass behind it goes on.
const PASS: u64 = 2048;
/// A busy worker takes an eighth of its full queue in this time. Others do not wait longer for a slower one.
const PATIENCE: Duration = Duration::from_millis(500);

/// A way through the log, which rests after a read error.
struct Way {
    cursor: Cursor,
    read_at: Instant,
    backoff: Backoff,
}

impl Way {
    /// How a pass ended: says for how long to rest, if it failed.
    fn ended(&mut self, outcome: Result<(), ReadError>, now: Instant) -> Option<Duration> {
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
            "log could not be read; tried again"
        );
        Some(delay)
    }
}

/// Since when a full queue holds the front, and how much its worker had taken by then.
#[derive(Clone, Copy)]
struct Hold {
    since: Instant,
    taken: u64,
}

/// What the reader works with.
pub(super) struct Parts {
    pub(super) log: Arc<Log>,
    pub(super) queues: Arc<Queues>,
    pub(super) control: Arc<Control>,
    pub(super) pacer: Pacer,
    /// Which records a client waits for.
    pub(super) statuses: Statuses,
}

impl Parts {
    pub(super) fn new(
        log: Arc<Log>,
        queues: Arc<Queues>,
        control: Arc<Control>,
        pacer: Pacer,
        statuses: Statuses,
    ) -> Self {
        Self { log, queues, control, pacer, statuses }
    }
}

pub(super) struct Reader {
    parts: Parts,
    front: Way,
    behind: Way,
    holds: Vec<Option<Hold>>,
    /// The number of the last pass behind the front that began at each queue.
    begun: Vec<u64>,
    passes: u64,
    /// How often the front went on without a full queue.
    left_behind: IntCounter,
}

impl Reader {
    pub(super) fn new(parts: Parts, backoff: &Backoff, metrics: &Metrics) -> Self {
        let left_behind = metrics.queue_hit.clone();
        let (from, read_at) = (parts.log.watermark(), Instant::now());
        let way = || Way { cursor: parts.log.cursor(from), read_at, backoff: backoff.clone() };
        let (front, behind, count) = (way(), way(), parts.queues.all().len());
        let (holds, begun) = (vec![None; count], vec![0; count]);
        Self { parts, front, behind, holds, begun, passes: 0, left_behind }
    }

    /// Reads until told to stop. `beats` grows at least once a second meanwhile.
    pub(super) fn run(mut self, beats: &AtomicU64) {
        while self.parts.control.stop_by().is_none() {
            beats.fetch_add(1, Ordering::Relaxed);
            self.parts.queues.listen();
            let now = Instant::now();
            let gathers = self.release(now);
            if let Some(rest) = self.turn(now) {
                self.wait(gathers, rest.min(IDLE));
            }
        }
    }

    /// Releases what the log has more, if the pacer says so; else says for how long it is still to be gathered.
    fn release(&mut self, now: Instant) -> Option<Duration> {
        let Parts { log, control, pacer, statuses, .. } = &mut self.parts;
        let (released, end) = (control.released(), log.end());
        if end <= released {
            return None;
        }
        let left = pacer.gather(end.0 - released.0, statuses.last_awaited() >= released, now);
        if left.is_none() {
            control.release(end);
            pacer.released(now);
        }
        left
    }

    /// Until there is something to release, a worker calls, or `rest` is over.
    fn wait(&self, gathers: Option<Duration>, rest: Duration) {
        let Parts { log, queues, control, statuses, .. } = &self.parts;
        let released = control.released();
        let is_called = || queues.is_called() || control.stop_by().is_some();
        match gathers {
            None => log.wait_for_or_interrupt(released, rest, is_called),
            Some(left) => {
                let is_awaited = || statuses.last_awaited() >= released;
                log.wait_for_or_interrupt(released.plus(FULL - 1), rest.min(left), || {
                    is_called() || is_awaited()
                })
            }
        };
    }

    /// A pass at the front and one behind it. If neither came further: for how long to wait.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        // Before it looks: a worker that finds its queue empty afterwards says so.
        self.parts.queues.set_blocked(true);
        let (front, behind) = (self.advance(now), self.follow(now));
        if self.front.cursor.position() >= self.parts.control.released() {
            self.parts.queues.set_blocked(false);
        }
        Some(front?.min(behind?))
    }

    /// A pass at the front, for the queues that stand there. `None`: it came further.
    fn advance(&mut self, now: Instant) -> Option<Duration> {
        let queues = Arc::clone(&self.parts.queues);
        let from = self.front.cursor.position();
        let mut pass = Pass::new(&queues, |view| view.next >= from);
        if now < self.front.read_at {
            return Some(self.front.read_at - now);
        }
        let end = self.parts.control.released();
        if from >= end || pass.is_over() {
            return Some(IDLE);
        }
        let (mut most, mut rest) = (PASS.min(end.0 - from.0), None);
        let outcome = loop {
            let frame = match pass.read(&mut self.front.cursor, &mut most) {
                Ok(Some(frame)) => frame,
                end => break end.map(|_| ()),
            };
            for index in queues.of(frame.lane) {
                if pass.offer(index, frame) {
                    let patience = patience(&mut self.holds[index], &pass, queues.view(index), now);
                    rest = rest.max(patience);
                    self.left_behind.inc_by(u64::from(patience.is_none()));
                }
            }
            if rest.is_some() {
                self.front.cursor.step_back();
                break Ok(());
            }
        };
        let position = self.front.cursor.position();
        pass.end(position);
        let delay = self.front.ended(outcome, now);
        if position > from { None } else { delay.or(rest) }
    }

    /// A pass behind the front. It begins at a queue with room, at which none has begun for the longest time. `None`:
    /// there was one.
    fn follow(&mut self, now: Instant) -> Option<Duration> {
        if now < self.behind.read_at {
            return Some(self.behind.read_at - now);
        }
        let queues = Arc::clone(&self.parts.queues);
        let front = self.front.cursor.position();
        let mut pass = Pass::new(&queues, |view| view.next < front && !view.is_full);
        let Some((first, from)) = pass.members().min_by_key(|(index, next)| (self.begun[*index], *next))
        else {
            return Some(IDLE);
        };
        pass.begin_at(from);
        self.passes += 1;
        self.begun[first] = self.passes;
        if self.behind.cursor.position() != from {
            self.behind.cursor = self.parts.log.cursor(from);
        }
        let mut most = PASS.min(front.0 - from.0);
        let outcome = loop {
            let frame = match pass.read(&mut self.behind.cursor, &mut most) {
                Ok(Some(frame)) => frame,
                end => break end.map(|_| ()),
            };
            for index in queues.of(frame.lane) {
                pass.offer(index, frame);
            }
            if pass.is_over() {
                break Ok(());
            }
        };
        pass.end(self.behind.cursor.position());
        self.behind.ended(outcome, now)
    }
}

/// For how long a full queue may hold the front; `None`: no longer.
fn patience(hold: &mut Option<Hold>, pass: &Pass<'_>, full: View, now: Instant) -> Option<Duration> {
    if !pass.is_wanted() {
        *hold = None;
        return Some(IDLE);
    }
    let fresh = Hold { since: now, taken: full.taken };
    let Hold { since, taken } = *hold.get_or_insert(fresh);
    let left = PATIENCE.saturating_sub(now.saturating_duration_since(since));
    if left.is_zero() {
        let is_busy = full.taken - taken >= (full.bytes / 8).max(1);
        if is_busy {
            *hold = Some(fresh);
        }
        return is_busy.then_some(PATIENCE);
    }
    Some(left)
}
