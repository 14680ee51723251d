//! Whether the daemon does its work, decided from counters that its loops bump on every turn, idle ones too.

use std::time::Duration;

/// A loop that counts its turns, at least one a second.
pub struct Heartbeat {
    name: String,
    beats: Box<dyn Fn() -> u64 + Send>,
}

impl Heartbeat {
    /// The loop `name`, whose turns so far `beats` tells.
    pub fn new(name: impl Into<String>, beats: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name: name.into(), beats: Box::new(beats) }
    }
}

/// Says whether the loops that matter still turn.
pub struct Liveness {
    /// How long a counter may stand still.
    patience: Duration,
    vital: Vec<WatchedLoop>,
    pool: Vec<WatchedLoop>,
}

impl Liveness {
    /// Each of `vital` must turn, and at least one of `pool`.
    pub fn new(patience: Duration, vital: Vec<Heartbeat>, pool: Vec<Heartbeat>) -> Self {
        let watch = |heartbeats: Vec<Heartbeat>| heartbeats.into_iter().map(WatchedLoop::new).collect();
        Self { patience, vital: watch(vital), pool: watch(pool) }
    }

    /// Who hangs, so that the daemon as a whole does; empty while it is well. `now` is any monotonic clock.
    pub fn hung(&mut self, now: Duration) -> Vec<&str> {
        let patience = self.patience;
        let mut hung = hung_names(&mut self.vital, now, patience);
        let size = self.pool.len();
        let pool = hung_names(&mut self.pool, now, patience);
        if pool.len() == size {
            hung.extend(pool);
        }
        hung
    }
}

fn hung_names(watched: &mut [WatchedLoop], now: Duration, patience: Duration) -> Vec<&str> {
    watched.iter_mut().filter_map(|one| one.hung_name(now, patience)).collect()
}

struct WatchedLoop {
    heartbeat: Heartbeat,
    /// The counter at the last look that saw it changed, and when that was; none before the first look.
    last_change: Option<(u64, Duration)>,
}

impl WatchedLoop {
    fn new(heartbeat: Heartbeat) -> Self {
        Self { heartbeat, last_change: None }
    }

    /// The name, if the counter has stood still for longer than `patience`.
    fn hung_name(&mut self, now: Duration, patience: Duration) -> Option<&str> {
        let beats = (self.heartbeat.beats)();
        let since = match self.last_change {
            Some((before, since)) if before == beats => since,
            _ => now,
        };
        self.last_change = Some((beats, since));
        (now.saturating_sub(since) > patience).then_some(&self.heartbeat.name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

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
    fn a_hung_commit_thread_is_the_daemons_end_and_its_return_the_daemons_return() {
        let (commit, beat) = heartbeat("commit");
        let mut liveness = Liveness::new(PATIENCE, vec![commit], vec![]);
        assert!(liveness.hung(at(100)).is_empty());
        assert!(liveness.hung(at(110)).is_empty(), "patience is not over yet");
        assert_eq!(liveness.hung(at(111)), ["commit"]);
        beat();
        assert!(liveness.hung(at(112)).is_empty());
    }

    #[test]
    fn one_worker_alive_suffices() {
        let ((first, _), (second, beat)) = (heartbeat("drain-0"), heartbeat("drain-1"));
        let mut liveness = Liveness::new(PATIENCE, vec![], vec![first, second]);
        assert!(liveness.hung(at(0)).is_empty());
        beat();
        assert!(liveness.hung(at(11)).is_empty());
        assert_eq!(liveness.hung(at(22)), ["drain-0", "drain-1"]);
    }

    #[test]
    fn without_workers_none_can_hang() {
        assert!(Liveness::new(PATIENCE, vec![], vec![]).hung(at(99)).is_empty());
    }
}
