//! How long one password takes, from those that were hashed.

use std::time::Duration;

/// What bcrypt takes for each of its `2^cost` rounds on a core of today; only until the first was measured.
const ROUND: Duration = Duration::from_micros(50);
/// The weight of the past against the last one: about ten are remembered.
const PAST: u32 = 9;

/// Before anything was measured.
pub(super) fn of_cost(cost: u32) -> Duration {
    ROUND * (1 << cost.min(20))
}

/// After another one was measured.
pub(super) fn updated(before: Duration, measured: Duration) -> Duration {
    (before * PAST + measured) / (PAST + 1)
}

/// When the last of so many is ready, on so many threads.
pub(super) fn wait(each: Duration, jobs: usize, threads: usize) -> Duration {
    let rounds = u32::try_from(jobs.div_ceil(threads.max(1))).unwrap_or(u32::MAX);
    each.saturating_mul(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_take_turns_on_the_threads() {
        let each = Duration::from_millis(50);
        assert_eq!([0, 1, 2, 3].map(|jobs| wait(each, jobs, 2).as_millis()), [0, 50, 50, 100]);
    }

    #[test]
    fn the_estimate_follows_what_is_measured() {
        let slow = Duration::from_millis(100);
        let estimate = (0..50).fold(of_cost(4), |before, _| updated(before, slow));
        assert!(estimate > slow * 9 / 10 && estimate <= slow, "{estimate:?}");
    }
}
