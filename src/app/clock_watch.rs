//! Stops the process when the wall clock is set back too far.
//!
//! librdkafka waits until an absolute wall-clock time (<https://github.com/confluentinc/librdkafka/issues/2145>). After
//! the clock is set back, a wait that has begun takes that much longer, whether for a connection, a commit, or its own
//! end. Nothing in the process can interrupt such a wait, so the process must restart. This happens when a machine
//! boots with a clock that runs ahead and is then synchronised.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::task::{FatalSignal, OnFailure, Thread};

/// Maximum setback. A longer extra wait would exceed the drain's own waits while Kafka is unavailable.
const MAX_SETBACK: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the thread that watches the clock.
pub(super) fn watch(fatal: FatalSignal) -> io::Result<Thread> {
    Thread::spawn("clock", OnFailure::Raise(fatal), |stop| {
        let mut last = ClockReading::now();
        while !stop.wait(INTERVAL) {
            let now = ClockReading::now();
            let back = now.set_back_since(last);
            if back > MAX_SETBACK {
                let back = back.as_secs();
                return Err(format!(
                    "the system clock was set back by {back} s, and waits for Kafka would take that much longer; no \
                     record is lost; restart the daemon"
                )
                .into());
            }
            last = now;
        }
        Ok(())
    })
}

/// Readings of both clocks at the same moment.
#[derive(Clone, Copy)]
struct ClockReading {
    wall: SystemTime,
    monotonic: Instant,
}

impl ClockReading {
    fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// Amount by which the wall clock was set back since an earlier reading.
    fn set_back_since(self, earlier: Self) -> Duration {
        let passed = self.monotonic.saturating_duration_since(earlier.monotonic);
        (earlier.wall + passed).duration_since(self.wall).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_set_back_reports_a_setback() {
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
