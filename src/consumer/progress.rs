//! Measures progress: the number of commands read and not settled, and since when none was settled.
//!
//! A thread with a heartbeat may still loop, and a database that responds may reject every write. Only settled commands
//! prove that the consumer works.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// A batch takes milliseconds. One that takes this long needs an operator's attention, even if it succeeds later.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Pending commands; shared between the consumer's thread and its handles.
#[derive(Default)]
pub(super) struct Progress(Mutex<PendingProgress>);

#[derive(Default)]
struct PendingProgress {
    count: usize,
    /// The last time that a command was settled, or the first pending one was read. `None` while nothing is pending.
    since: Option<Instant>,
}

impl Progress {
    /// Records that `count` commands are pending. `settled`: some were settled since the previous call.
    pub(super) fn record(&self, count: usize, settled: bool, now: Instant) {
        let mut pending = self.0.lock();
        pending.count = count;
        pending.since = match pending.since {
            _ if count == 0 => None,
            Some(since) if !settled => Some(since),
            _ => Some(now),
        };
    }

    /// Number of commands that are read and not settled.
    pub(super) fn pending(&self) -> usize {
        self.0.lock().count
    }

    /// For how long nothing was settled, if at least 30 s.
    pub(super) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(self.0.lock().since?);
        (idle >= STALLED_AFTER).then_some(idle)
    }

    /// A message about the stall, if any.
    pub(super) fn stalled(&self, now: Instant) -> Option<String> {
        let (idle, count) = (self.stalled_for(now)?, self.pending());
        Some(format!("no command was settled for {} s while {count} are pending", idle.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settled_commands_count_as_progress() {
        let (progress, start) = (Progress::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(progress.stalled(after(1_000)), None, "nothing is pending");
        progress.record(5, false, start);
        progress.record(9, false, after(20));
        assert_eq!(progress.stalled(after(29)), None);
        let stalled = progress.stalled(after(31)).unwrap();
        assert_eq!(stalled, "no command was settled for 31 s while 9 are pending");
        progress.record(8, true, after(31));
        assert_eq!(progress.stalled(after(60)), None);
        assert!(progress.stalled(after(61)).is_some());
        progress.record(0, true, after(61));
        assert_eq!((progress.stalled(after(1_000)), progress.pending()), (None, 0));
    }
}
