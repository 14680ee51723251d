//! Time since the start of a run. Tests use another clock.

use std::thread;
use std::time::{Duration, Instant};

/// A clock that begins at zero.
pub trait Clock {
    /// Time since the start.
    fn now(&self) -> Duration;

    /// Blocks the thread until this time or later.
    fn sleep_until(&self, at: Duration);
}

/// The real clock of a run.
#[derive(Clone, Copy)]
pub struct RunClock {
    started: Instant,
}

impl RunClock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for RunClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep_until(&self, at: Duration) {
        thread::sleep(at.saturating_sub(self.now()));
    }
}
