//! One worker of the exactly-once drain: a thread with its own lanes and its own transactional id.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::claim::mark_done;
use super::core::Core;
use super::held::Held;
use super::positions::Positions;
use super::sender::Found;
use super::sender::Sender;
use crate::backoff::Backoff;
use crate::drain::bell::ALERT;
use crate::drain::bell::IDLE;
use crate::drain::board::Parts;
use crate::drain::config::Config;
use crate::drain::court::Court;
use crate::drain::feed::Feed;
use crate::drain::feed::Step;
use crate::drain::feed::TURN;
use crate::drain::handle::Handle;
use crate::drain::lanes::Lanes;
use crate::drain::outlet::Link;
use crate::drain::part::STALL;
use crate::drain::sealed::Pass;
use crate::drain::sealed::Sealed;
use crate::drain::window::Window;
use crate::kafka::ClientError;
use crate::planted::Fault;
use crate::planted::planted;

/// What a worker is made of.
pub(in crate::drain) struct WorkerParts<'a> {
    pub(in crate::drain) lanes: Lanes,
    pub(in crate::drain) handle: Handle,
    pub(in crate::drain) parts: Parts,
    pub(in crate::drain) link: &'a Arc<Link>,
    pub(in crate::drain) config: &'a Config,
}

pub(in crate::drain) struct Worker {
    lanes: Lanes,
    handle: Handle,
    interval: Duration,
    core: Core,
    feed: Feed,
    idle_at: Instant,
    /// After a failure: nothing is begun before.
    pause_until: Instant,
    backoff: Backoff,
}

/// What became of an attempt to fill the transaction.
#[derive(PartialEq, Eq)]
enum Filled {
    /// There is more.
    More,
    /// Something must happen first.
    Waits,
    /// Everything was offered.
    Dry,
}

impl Worker {
    pub(in crate::drain) fn new(its: WorkerParts<'_>) -> Result<Self, ClientError> {
        let WorkerParts { lanes, handle, parts, link, config } = its;
        let backoff = Backoff::new(config.retry_backoff_min.0, config.retry_backoff_max.0);
        let identity = parts.log.identity();
        let bell = Arc::clone(&handle.posts[lanes.index].bell);
        let sealed = Sealed::new(&parts, &bell);
        let sender = Sender::new(Arc::clone(link), bell, identity, lanes.index, backoff.clone())?;
        let window = Window::share(lanes.workers as u64, &parts.extra);
        let now = Instant::now();
        let core = Core {
            incarnation: identity.incarnation,
            sender,
            court: Court::new(&parts, &backoff, config.topic_fault_grace.0, link.config.topic_refresh()),
            held: Held::new(backoff.clone()),
            sealed,
            pass: Pass::default(),
            limit: window.limit(),
            window,
            run: None,
            committed: Positions::default(),
            results: Vec::new(),
            failures: Vec::new(),
            has_failed: false,
            refused: None,
            hunt: 0,
            is_full: false,
            reread: None,
            arrived_at: now,
            parts,
        };
        let log = &core.parts.log;
        let feed = Feed::new(log, handle.queues.head(lanes.index), log.watermark());
        let interval = config.transaction_interval.0;
        Ok(Self { lanes, handle, interval, core, feed, idle_at: now, pause_until: now, backoff })
    }

    /// Works until told to stop.
    pub(in crate::drain) fn run(mut self) {
        loop {
            self.handle.posts[self.lanes.index].beat();
            let now = Instant::now();
            if let Some(deadline) = self.handle.control.stop_by() {
                self.finish(deadline);
                return;
            }
            let paused = self.handle.control.paused.load(Ordering::Relaxed);
            let more = self.is_ready(now) && self.turn(paused, now);
            self.publish(paused, more, now);
            if !more {
                let core = &self.core;
                let quiet = core.run.is_none() && core.held.is_empty() && !core.court.grave.is_full();
                let quiet = quiet && core.sender.producer().is_some() && !self.feed.is_waiting();
                if quiet { core.sender.wait(IDLE) } else { core.sender.wait_and_gather(ALERT) }
            }
        }
    }

    /// Whether there is a producer; makes one if it is time.
    fn is_ready(&mut self, now: Instant) -> bool {
        if !self.handle.standing.is_granted() {
            if self.core.sender.producer().is_some() {
                self.core.sender.close(now);
            }
            return false;
        }
        if self.core.sender.producer().is_some() {
            return true;
        }
        self.publish(false, false, now);
        let (handle, index) = (self.handle.clone(), self.lanes.index);
        let mut tick = tick(&handle, index);
        let Some(found) = self.core.sender.open(now, &mut tick) else { return false };
        match found {
            Found::Theirs(incarnation) => {
                handle.standing.halt(format!("incarnation {incarnation} of this log took over"));
                self.core.sender.close(now);
                return false;
            }
            Found::Ours(_) if planted(Fault::GuessCommit) => self.core.resolve(&Positions::default()),
            Found::Ours(positions) => {
                self.core.resolve(&positions);
                if positions != self.core.committed {
                    self.core.committed = positions;
                    // What this log's own checkpoint does not know of yet.
                    if let Err(error) = mark_done(&self.core.parts, &self.core.committed, &mut tick) {
                        tracing::error!(%error, "cannot read the log");
                        self.core.sender.close(now);
                        return false;
                    }
                }
            }
            Found::Nothing => {
                tracing::error!("the positions in Kafka are gone; going on from those that are remembered");
                self.core.resolve(&Positions::default());
            }
        }
        self.core.reread = Some(self.core.parts.log.watermark());
        true
    }

    /// One turn; says whether there is more to do at once.
    fn turn(&mut self, paused: bool, now: Instant) -> bool {
        let (handle, index) = (self.handle.clone(), self.lanes.index);
        let mut tick = tick(&handle, index);
        self.core.collect(now);
        self.core.sealed.collect();
        self.core.look_for_jams(now);
        if self.core.has_failed || self.core.sender.producer().is_some_and(|producer| producer.has_failed()) {
            let is_known = self.core.fail(now, &mut tick);
            self.pause_until = if is_known { now } else { now + self.backoff.delay() };
        }
        self.core.court.grave.store(&self.core.parts, now);
        self.core.tend(now);
        let may_fill = !paused && now >= self.pause_until;
        let filled = if may_fill { self.fill(now) } else { Filled::Waits };
        self.core.court.grave.store(&self.core.parts, now);
        let Some(run) = &self.core.run else { return filled == Filled::More };
        let is_due = filled == Filled::Dry || paused || self.core.is_full || run.is_due(self.interval, now);
        if !run.is_closed && is_due {
            self.core.close();
        }
        if self.core.is_whole() {
            self.core.commit(now, &mut tick);
            self.core.is_full = false;
            self.backoff.reset();
            return true;
        }
        filled == Filled::More
    }

    fn fill(&mut self, now: Instant) -> Filled {
        if self.core.run.is_none() {
            self.rewind(now);
        }
        for _ in 0..TURN {
            if self.core.has_failed || self.core.run.as_ref().is_some_and(|run| run.is_closed) {
                return Filled::Waits;
            }
            let (core, from) = (&mut self.core, self.feed.position());
            match self.feed.advance(|frame| core.handle(from, frame)) {
                Some(Step::Done) => {}
                Some(Step::Wait) => return Filled::Waits,
                None => {
                    self.core.pass.end(now);
                    return Filled::Dry;
                }
            }
        }
        Filled::More
    }

    /// Between two transactions: back to what was aborted, or held for a reason that is gone.
    fn rewind(&mut self, now: Instant) {
        let first = self.core.release(now).into_iter().chain(self.core.reread.take()).min();
        if let Some(first) = first.filter(|first| *first < self.feed.position()) {
            self.feed.seek(first);
        }
    }

    /// The stop: commits what is open if that goes soon, else leaves it to brokers and the next start to abort.
    fn finish(&mut self, deadline: Instant) {
        let since = Instant::now();
        let (handle, index) = (self.handle.clone(), self.lanes.index);
        let mut tick = || {
            handle.posts[index].beat();
            Instant::now() < deadline
        };
        loop {
            let now = Instant::now();
            self.core.collect(now);
            let Some(run) = &self.core.run else { return };
            let is_quiet = now.duration_since(since.max(self.core.arrived_at)) >= STALL;
            if self.core.has_failed || is_quiet || !tick() {
                self.core.fail(now, &mut || tick() && since.elapsed() < STALL * 2);
                return;
            }
            if !run.is_closed {
                self.core.close();
            }
            self.core.court.grave.store(&self.core.parts, now);
            if self.core.is_whole() {
                self.core.commit(now, &mut tick);
                return;
            }
            self.core.sender.wait(ALERT);
        }
    }

    fn publish(&mut self, paused: bool, more: bool, now: Instant) {
        let core = &self.core;
        let head = Some(self.feed.position()).filter(|position| *position < core.parts.log.end());
        let lowest = [core.run.as_ref().map(|run| run.from), head];
        let mut state = self.handle.posts[self.lanes.index].state();
        state.state = match () {
            () if paused => "paused",
            () if core.sender.producer().is_none() => "rebuilding",
            () if more || core.run.is_some() => "running",
            () => "waiting",
        };
        state.in_flight = core.window.len();
        state.oldest_waiting = lowest.into_iter().flatten().min();
        if paused || state.oldest_waiting.is_none() {
            self.idle_at = now;
        }
        state.stalled = now.duration_since(self.idle_at.max(core.arrived_at)) >= STALL;
        core.count_parked(&mut state.parked);
    }
}

/// A heartbeat for calls that block; ends them when the daemon stops.
fn tick(handle: &Handle, index: usize) -> impl FnMut() -> bool + use<'_> {
    move || {
        handle.posts[index].beat();
        handle.control.stop_by().is_none()
    }
}
