//! The consumer's heartbeat, and its owner's wish that it stop.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::task::Stop;

/// Beats, and listens.
pub(super) struct Pulse<'a> {
    stop: &'a Stop,
    beats: &'a AtomicU64,
    // Once asked, a thread stays asked.
    stopping: Cell<bool>,
}

impl<'a> Pulse<'a> {
    pub(super) fn new(stop: &'a Stop, beats: &'a AtomicU64) -> Self {
        Self { stop, beats, stopping: Cell::new(false) }
    }

    /// Alive; says whether to go on.
    pub(super) fn beat(&self) -> bool {
        self.rest(Duration::ZERO)
    }

    /// The same after a rest.
    pub(super) fn rest(&self, time: Duration) -> bool {
        self.beats.fetch_add(1, Ordering::Relaxed);
        if !self.stopping.get() && self.stop.within(time) {
            self.stopping.set(true);
        }
        !self.stopping.get()
    }
}
