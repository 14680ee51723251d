//! Ends the process when the wall clock is set back by more than it can live with.
//!
//! librdkafka waits until a time of day (<https://github.com/confluentinc/librdkafka/issues/2145>): after the clock was
//! set back, a wait that had begun lasts as much longer, for a connection, a commit, or its own end. Nothing in the
//! process can wake it; a new start waits for nobody. (A clock that runs ahead at boot, until it is synchronised, is
//! how this happens.)

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::task::{FatalSignal, OnFailure, Thread};

/// Longer waits than the drain's own when Kafka is away would be noticed.
const MAX_SETBACK: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches the clock.
pub(super) fn watch(alarm: FatalSignal) -> io::Result<Thread> {
    Thread::spawn("clock", OnFailure::Raise(alarm), |stop| {
        let mut last = ClockReading::now();
        while !stop.wait(INTERVAL) {
            let now = ClockReading::now();
            let back = now.set_back_since(last);
            if back > MAX_SETBACK {
                let back = back.as_secs();
                return Err(format!(
                    "the system's clock was set back by {back} s, and what waits for Kafka would wait as much \
                     longer; nothing is lost, start again"
                )
                .into());
            }
            last = now;
        }
        Ok(())
    })
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct ClockReading {
    wall: SystemTime,
    monotonic: Instant,
}

impl ClockReading {
    fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// By how much the wall clock was set back since an earlier reading.
    fn set_back_since(self, earlier: Self) -> Duration {
        let passed = self.monotonic.saturating_duration_since(earlier.monotonic);
        (earlier.wall + passed).duration_since(self.wall).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_was_set_back_is_behind() {
        let first = ClockReading::now();
        let at = |wall, monotonic| ClockReading {
            wall: first.wall + Duration::from_secs(1_000) - Duration::from_secs(wall),
            monotonic: first.monotonic + Duration::from_secs(monotonic),
        };
        assert_eq!(at(999, 1).set_back_since(first), Duration::ZERO);
        assert_eq!(at(0, 1).set_back_since(first), Duration::ZERO, "set forward, or the machine slept");
        assert_eq!(at(1_099, 1).set_back_since(first), Duration::from_secs(100));
    }
}
