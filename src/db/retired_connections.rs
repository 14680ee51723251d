//! Which connections are not to be used any more, because they lead to a server that was demoted.
//!
//! After a failover the name or address of the database leads to another server, but open connections still lead to the
//! old one, which answers reads and refuses writes. The first refusal retires all connections made until then; each is
//! closed when it would be used next.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Where every server is read-only, each write would retire all connections again, and reads would pay for that.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Shared by the pool and the connections that are in use.
#[derive(Default)]
pub(super) struct RetiredConnections(Mutex<Option<Instant>>);

impl RetiredConnections {
    /// Retires all connections made until `now`, unless that happened a moment ago. Says whether it did.
    pub(super) fn retire_all(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        if last.is_some_and(|last| now.saturating_duration_since(last) < AGAIN_AFTER) {
            return false;
        }
        *last = Some(now);
        true
    }

    /// Whether a connection that is so old now is retired.
    pub(super) fn contains(&self, age: Duration, now: Instant) -> bool {
        let last = self.0.lock();
        last.is_some_and(|last| now.saturating_duration_since(last) <= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_made_before_are_retired_and_not_all_the_time() {
        let (retired, start) = (RetiredConnections::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!retired.contains(second, start));
        assert!(retired.retire_all(start));
        let later = start + 10 * second;
        assert!(retired.contains(11 * second, later));
        assert!(!retired.contains(9 * second, later));
        assert!(retired.retire_all(later));
        assert!(!retired.retire_all(later + second / 2), "the new ones have just been made");
        assert!(!retired.contains(second / 4, later + second / 2));
        assert!(retired.contains(9 * second, later));
    }
}
