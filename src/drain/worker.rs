//! One worker: a thread with its own producer and its own lanes.
//!
//! Each turn takes in results, asks about topics, opens gates whose reason is gone, sends what the window has room
//! for, and then waits for its bell.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::backoff::Backoff;
use crate::drain::asides::Asides;
use crate::drain::bell::ALERT;
use crate::drain::bell::IDLE;
use crate::drain::board::Post;
use crate::drain::desk::Desk;
use crate::drain::feed::Feed;
use crate::drain::feed::Step;
use crate::drain::feed::TURN;
use crate::drain::gates::Side;
use crate::drain::handle::Handle;
use crate::drain::lanes::Lanes;
use crate::drain::part::STALL;
use crate::wal::Lsn;

pub(super) struct Worker {
    lanes: Lanes,
    handle: Handle,
    desk: Desk,
    head: Feed,
    catch_up: Option<Feed>,
    asides: Asides,
    /// When there was last nothing to deliver.
    idle_at: Instant,
}

impl Worker {
    pub(super) fn new(lanes: Lanes, handle: Handle, desk: Desk, backoff: Backoff) -> Self {
        let log = &desk.parts.log;
        let head = Feed::new(log, handle.queues.head(lanes.index), log.watermark());
        let asides = Asides::new(log, lanes, backoff);
        Self { lanes, handle, desk, head, catch_up: None, asides, idle_at: Instant::now() }
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) {
        let mut stopping = None;
        loop {
            self.post().beat();
            let now = Instant::now();
            self.desk.collect(now);
            self.post().beat();
            if let Some(deadline) = self.handle.control.stop_by() {
                let since = *stopping.get_or_insert(now);
                if self.has_ended(since, deadline, now) {
                    self.desk.court.grave.store(&self.desk.parts, now);
                    return;
                }
            }
            let paused = stopping.is_some() || self.handle.control.paused.load(Ordering::Relaxed);
            let paused = paused || !self.handle.standing.is_granted();
            let more = !paused && self.work(now);
            self.desk.court.grave.store_gathered(&self.desk.parts, now);
            self.publish(paused, more, now);
            if !more {
                let quiet = self.desk.is_quiet() && self.catch_up.is_none() && !self.head.is_waiting();
                let quiet = quiet && self.asides.is_empty();
                self.post().bell.wait(if quiet { IDLE } else { ALERT });
            }
        }
    }

    fn post(&self) -> &Post {
        &self.handle.posts[self.lanes.index]
    }

    /// Nothing is in flight any more, or what is will not come back in time.
    fn has_ended(&self, since: Instant, deadline: Instant, now: Instant) -> bool {
        let quiet_since = since.max(self.desk.arrived_at);
        self.desk.window.len() == 0 || now >= deadline || now.duration_since(quiet_since) >= STALL
    }

    /// One turn; says whether there is more to do at once.
    fn work(&mut self, now: Instant) -> bool {
        self.desk.tend(now);
        for (side, first) in self.desk.reopen(now) {
            match side {
                Side::Aside(topic) => self.asides.rewind(topic, first),
                Side::CatchUp | Side::Main => self.rewind(first),
            }
        }
        if let Some(first) = self.desk.reopen_slots(self.catch_up.as_ref().map(Feed::position), now) {
            self.rewind(first);
            self.asides.rewind_all(first);
        }
        let more = self.fill();
        self.look_back(now);
        self.asides.advance(&mut self.desk, self.head.position(), now) || more
    }

    /// Ends the catch-up side where nothing before the head waits for it.
    fn look_back(&mut self, now: Instant) {
        if let Some(feed) = &self.catch_up
            && self.desk.is_caught_up(feed.position())
        {
            self.catch_up = None;
        }
        if self.catch_up.is_none() {
            self.desk.pass.end(now);
        }
    }

    /// The catch-up side begins no later than at this record.
    fn rewind(&mut self, first: Lsn) {
        match &mut self.catch_up {
            Some(feed) if first >= feed.position() => {}
            Some(feed) => feed.seek(first),
            None => {
                let queue = self.handle.queues.catch_up(self.lanes.index);
                self.catch_up = Some(Feed::new(&self.desk.parts.log, queue, first));
            }
        }
    }

    fn fill(&mut self) -> bool {
        for _ in 0..TURN {
            // Both in turn: neither may starve the other.
            let moved = self.step_catch_up();
            if !(self.step_head() || moved) {
                return false;
            }
            if self.desk.has_failed() {
                break;
            }
        }
        true
    }

    fn step_head(&mut self) -> bool {
        let desk = &mut self.desk;
        self.head.advance(|frame| desk.handle(Side::Main, frame)) == Some(Step::Done)
    }

    fn step_catch_up(&mut self) -> bool {
        let Some(feed) = &mut self.catch_up else { return false };
        let (desk, head) = (&mut self.desk, self.head.position());
        let mut met = feed.position() >= head;
        if !met {
            let step = feed.advance(|frame| {
                met = frame.lsn >= head;
                if met { Step::Done } else { desk.handle(Side::CatchUp, frame) }
            });
            met |= step.is_none();
            if !met {
                return step == Some(Step::Done);
            }
        }
        self.desk.met(Side::CatchUp, head);
        self.catch_up = None;
        true
    }

    fn publish(&mut self, paused: bool, more: bool, now: Instant) {
        let log = &self.desk.parts.log;
        let head = Some(self.head.position()).filter(|position| *position < log.end());
        let behind = self.catch_up.as_ref().map(Feed::position);
        let lowest = [self.desk.window.lowest_waiting(), behind, self.asides.position(), head];
        let mut state = self.handle.posts[self.lanes.index].state();
        state.state = match () {
            () if paused => "paused",
            () if !self.desk.is_connected() => "rebuilding",
            () if more || self.desk.window.len() > 0 => "running",
            () => "waiting",
        };
        state.in_flight = self.desk.window.len();
        state.oldest_waiting = lowest.into_iter().flatten().min();
        if paused || state.oldest_waiting.is_none() {
            self.idle_at = now;
        }
        state.stalled = now.duration_since(self.idle_at.max(self.desk.arrived_at)) >= STALL;
        self.desk.count_parked(&mut state.parked);
    }
}
