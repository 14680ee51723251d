//! Estimates the time to hash a password from previous hashes.
//!
//! bcrypt performs `2^cost` rounds. The estimate is the time per round, so hashes of different costs contribute
//! equally.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Time of one round on a current core; used until the first hash is measured.
pub(super) const INITIAL_ROUND_TIME: Duration = Duration::from_micros(50);
/// Weight of the previous estimate against one measurement: about the last ten measurements count.
const PREVIOUS_WEIGHT: u32 = 9;
/// Wall time counts up to this multiple of the CPU time. On a busy machine a thread gets a quarter of a core. The time
/// of a suspended machine does not predict the next hash.
const MAX_WALL_PER_CPU: u32 = 4;

/// Rounds of a hash of this cost.
pub(super) fn rounds(cost: u32) -> u64 {
    1 << cost.min(31)
}

/// The estimate after another hash of `rounds` rounds.
pub(super) fn update_estimate(round: Duration, measured: Measured, rounds: u64) -> Duration {
    let rounds = u32::try_from(rounds.max(1)).unwrap_or(u32::MAX);
    (round * PREVIOUS_WEIGHT + measured.counted() / rounds) / (PREVIOUS_WEIGHT + 1)
}

/// Time until a hash of `own` rounds is ready on one of `threads` threads that first have `before` rounds to do.
pub(super) fn estimate_wait(round: Duration, before: u64, own: u64, threads: usize) -> Duration {
    let threads = u64::try_from(threads.max(1)).unwrap_or(u64::MAX);
    let rounds = u32::try_from(before.div_ceil(threads).saturating_add(own)).unwrap_or(u32::MAX);
    round.saturating_mul(rounds)
}

/// Measured duration of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub wall: Duration,
    /// CPU time of the thread that did the work.
    pub cpu: Duration,
}

impl Measured {
    /// Wall time, because a queue waits for wall time, without the time of a suspended machine.
    fn counted(self) -> Duration {
        self.wall.min(self.cpu * MAX_WALL_PER_CPU)
    }
}

/// Measures the calling thread.
pub(super) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    pub fn measured(&self) -> Measured {
        Measured { wall: self.wall.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

/// CPU time of the calling thread since its start.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: u32 = 10;

    fn measured(wall: Duration, cpu: Duration) -> Measured {
        Measured { wall, cpu }
    }

    #[test]
    fn threads_share_earlier_rounds_but_not_a_jobs_own() {
        let round = Duration::from_millis(1);
        assert_eq!(
            [0, 50, 100, 101].map(|before| estimate_wait(round, before, 50, 2).as_millis()),
            [50, 75, 100, 101]
        );
        assert_eq!(estimate_wait(round, u64::MAX, u64::MAX, 1), round * u32::MAX);
    }

    #[test]
    fn the_estimate_follows_measurements_at_any_cost() {
        let round = Duration::from_micros(90);
        for cost in [4, COST, 15] {
            let took = round * u32::try_from(rounds(cost)).unwrap();
            let estimate = (0..50).fold(INITIAL_ROUND_TIME, |before, _| {
                update_estimate(before, measured(took, took), rounds(cost))
            });
            assert!(estimate > round * 9 / 10 && estimate <= round, "{estimate:?}");
        }
    }

    #[test]
    fn the_time_of_a_suspended_machine_does_not_count() {
        let cpu = INITIAL_ROUND_TIME * u32::try_from(rounds(COST)).unwrap();
        let suspended = measured(cpu + Duration::from_secs(60), cpu);
        let after = update_estimate(INITIAL_ROUND_TIME, suspended, rounds(COST));
        assert!(after < INITIAL_ROUND_TIME * 3 / 2, "{after:?}");
        let busy = measured(cpu * 2, cpu);
        assert!(
            update_estimate(INITIAL_ROUND_TIME, busy, rounds(COST)) > INITIAL_ROUND_TIME,
            "a busy machine is slower"
        );
    }

    #[test]
    fn a_thread_that_waits_uses_no_cpu_time() {
        let stopwatch = Stopwatch::start();
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let waited = never.recv_timeout(Duration::from_millis(20));
        assert!(waited.is_err());
        let Measured { wall, cpu } = stopwatch.measured();
        assert!(wall >= Duration::from_millis(20) && cpu < wall, "{wall:?} {cpu:?}");
    }
}
