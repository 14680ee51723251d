//! How long each phase of a stop may take.

use std::time::Duration;

use crate::config::LONGEST_GRACE;

/// The phases in their order. What a phase has not done when its time is over stays undone: undelivered records
/// stay in the log, and a stale checkpoint costs repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Requests under way are answered.
    pub(super) requests: Duration,
    /// The broker confirms what is in flight.
    pub(super) drain: Duration,
    /// What waits is flushed, the position is saved, threads end.
    pub(super) rest: Duration,
}

impl Deadlines {
    /// An orderly stop. A flush on a slow disk and a confirmation by all replicas take seconds at worst.
    pub(super) fn orderly(grace: Duration) -> Self {
        let seconds = Duration::from_secs;
        Self { requests: grace, drain: seconds(10), rest: seconds(15) }
    }

    /// After a failure that nothing here can mend: those who wait have been told, so only their answers leave.
    pub(super) fn failed() -> Self {
        let short = Duration::from_secs(1);
        Self { requests: short, drain: short, rest: short }
    }

    fn total(self) -> Duration {
        self.requests + self.drain + self.rest
    }
}

/// The longest stop that a valid configuration allows.
pub fn longest_stop() -> Duration {
    Deadlines::orderly(LONGEST_GRACE.0).total()
}
