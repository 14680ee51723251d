//! Whether the consumer gets on: how many commands it has read and not settled, and since when none of them was.
//!
//! A thread that beats may still go round in circles, and a database that answers may refuse every write. Only commands
//! that are settled show that the consumer works.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// A batch takes milliseconds. One that takes this long is an operator's business, also where it succeeds in the end.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What is pending; shared between the consumer's thread and those who look.
#[derive(Default)]
pub(super) struct Progress(Mutex<PendingProgress>);

#[derive(Default)]
struct PendingProgress {
    count: usize,
    /// The last time that a command was settled, or that the first one came. None while nothing is pending.
    since: Option<Instant>,
}

impl Progress {
    /// This many commands are pending now, and `settled` says whether some were settled since the last call.
    pub(super) fn record(&self, count: usize, settled: bool, now: Instant) {
        let mut pending = self.0.lock();
        pending.count = count;
        pending.since = match pending.since {
            _ if count == 0 => None,
            Some(since) if !settled => Some(since),
            _ => Some(now),
        };
    }

    /// How many commands are read and not settled.
    pub(super) fn pending(&self) -> usize {
        self.0.lock().count
    }

    /// For how long nothing was settled, if that is too long.
    pub(super) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(self.0.lock().since?);
        (idle >= STALLED_AFTER).then_some(idle)
    }

    /// What to say then.
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
