//! Liveness of the daemon, derived from counters that its loops increment in every iteration, including idle ones.

use std::time::Duration;

/// Counter of a loop's iterations. A loop iterates at least once per second.
pub struct Heartbeat {
    name: String,
    beats: Box<dyn Fn() -> u64 + Send>,
}

impl Heartbeat {
    /// Creates the heartbeat of loop `name`. `beats` returns the number of iterations so far.
    pub fn new(name: impl Into<String>, beats: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name: name.into(), beats: Box::new(beats) }
    }
}

/// Decides whether the vital loops make progress.
pub struct Liveness {
    /// Maximum time for which a counter may stay unchanged.
    timeout: Duration,
    vital: Vec<WatchedLoop>,
    pool: Vec<WatchedLoop>,
}

impl Liveness {
    /// Every loop of `vital` must make progress, and at least one loop of `pool`.
    pub fn new(timeout: Duration, vital: Vec<Heartbeat>, pool: Vec<Heartbeat>) -> Self {
        let watch = |heartbeats: Vec<Heartbeat>| heartbeats.into_iter().map(WatchedLoop::new).collect();
        Self { timeout, vital: watch(vital), pool: watch(pool) }
    }

    /// Names of the loops whose hang makes the daemon hang. Empty while it is healthy. `now`: time of any monotonic
    /// clock.
    pub fn hung(&mut self, now: Duration) -> Vec<&str> {
        let timeout = self.timeout;
        let mut hung = hung_names(&mut self.vital, now, timeout);
        let size = self.pool.len();
        let pool = hung_names(&mut self.pool, now, timeout);
        if pool.len() == size {
            hung.extend(pool);
        }
        hung
    }
}

fn hung_names(watched: &mut [WatchedLoop], now: Duration, timeout: Duration) -> Vec<&str> {
    watched.iter_mut().filter_map(|one| one.hung_name(now, timeout)).collect()
}

struct WatchedLoop {
    heartbeat: Heartbeat,
    /// Value of the counter at its last change, and the time of that check. `None` before the first check.
    last_change: Option<(u64, Duration)>,
}

impl WatchedLoop {
    fn new(heartbeat: Heartbeat) -> Self {
        Self { heartbeat, last_change: None }
    }

    /// The name, if the counter has not changed for longer than `timeout`.
    fn hung_name(&mut self, now: Duration, timeout: Duration) -> Option<&str> {
        let beats = (self.heartbeat.beats)();
        let since = match self.last_change {
            Some((before, since)) if before == beats => since,
            _ => now,
        };
        self.last_change = Some((beats, since));
        (now.saturating_sub(since) > timeout).then_some(&self.heartbeat.name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn heartbeat(name: &str) -> (Heartbeat, impl Fn()) {
        let beats = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&beats);
        let heartbeat = Heartbeat::new(name, move || read.load(Ordering::Relaxed));
        (heartbeat, move || {
            beats.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_daemon_hangs_while_the_commit_thread_hangs() {
        let (commit, beat) = heartbeat("commit");
        let mut liveness = Liveness::new(TIMEOUT, vec![commit], vec![]);
        assert!(liveness.hung(at(100)).is_empty());
        assert!(liveness.hung(at(110)).is_empty(), "the timeout has not passed yet");
        assert_eq!(liveness.hung(at(111)), ["commit"]);
        beat();
        assert!(liveness.hung(at(112)).is_empty());
    }

    #[test]
    fn one_live_worker_is_enough() {
        let ((first, _), (second, beat)) = (heartbeat("drain-0"), heartbeat("drain-1"));
        let mut liveness = Liveness::new(TIMEOUT, vec![], vec![first, second]);
        assert!(liveness.hung(at(0)).is_empty());
        beat();
        assert!(liveness.hung(at(11)).is_empty());
        assert_eq!(liveness.hung(at(22)), ["drain-0", "drain-1"]);
    }

    #[test]
    fn no_loop_hangs_without_workers() {
        assert!(Liveness::new(TIMEOUT, vec![], vec![]).hung(at(99)).is_empty());
    }
}
