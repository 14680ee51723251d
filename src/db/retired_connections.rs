//! Connections that must not be used any more, because they lead to a demoted server.
//!
//! After a failover the database's name or address leads to another server. Open connections still lead to the old
//! server, which answers reads and refuses writes. The first refused write retires all existing connections. Each is
//! closed before its next use.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Minimum time between retirements. If every server is read-only, each write would retire all connections again and
/// slow down reads.
const RETIRE_INTERVAL: Duration = Duration::from_secs(1);

/// The instant of the last retirement, shared by the pool and the connections in use.
#[derive(Default)]
pub(super) struct RetiredConnections(Mutex<Option<Instant>>);

impl RetiredConnections {
    /// Retires all connections opened until `now`, unless this happened a moment ago. Returns whether it did.
    pub(super) fn retire_all(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        if last.is_some_and(|last| now.saturating_duration_since(last) < RETIRE_INTERVAL) {
            return false;
        }
        *last = Some(now);
        true
    }

    /// Whether a connection of this age is retired.
    pub(super) fn contains(&self, age: Duration, now: Instant) -> bool {
        let last = self.0.lock();
        last.is_some_and(|last| now.saturating_duration_since(last) <= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_connections_are_retired_and_not_constantly() {
        let (retired, start) = (RetiredConnections::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!retired.contains(second, start));
        assert!(retired.retire_all(start));
        let later = start + 10 * second;
        assert!(retired.contains(11 * second, later));
        assert!(!retired.contains(9 * second, later));
        assert!(retired.retire_all(later));
        assert!(!retired.retire_all(later + second / 2), "the new connections were just opened");
        assert!(!retired.contains(second / 4, later + second / 2));
        assert!(retired.contains(9 * second, later));
    }
}
