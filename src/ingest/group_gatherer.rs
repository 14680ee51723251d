//! Decides when the commit thread waits for more requests before it writes and flushes.
//!
//! Under load, the clients of the last group send their next requests within a fraction of a millisecond. A flush that
//! starts with the first of these makes all others wait for a second flush. A single request without load is flushed at
//! once.

use std::time::{Duration, Instant};

/// When to gather. The default has the best measured values. Models of the commit path always gather.
#[derive(Clone, Copy, Debug)]
pub(super) struct GatherRule {
    /// Groups of at most this many requests do not count as load.
    pub above: usize,
    /// Maximum wait: about one flush.
    pub max_wait: Duration,
    /// Maximum age of the previous group, about ten flushes. An older group does not predict new requests.
    pub recent: Duration,
}

impl Default for GatherRule {
    fn default() -> Self {
        Self { above: 8, max_wait: Duration::from_micros(150), recent: Duration::from_millis(1) }
    }
}

/// How many requests to wait for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GatherTarget {
    /// Number of requests that ends the wait.
    pub count: usize,
    /// Deadline of the wait.
    pub until: Instant,
}

/// Remembers the previous group. The caller passes the time.
#[derive(Debug)]
pub(super) struct GroupGatherer {
    rule: GatherRule,
    last: Option<(usize, Instant)>,
}

impl GroupGatherer {
    pub fn new(rule: GatherRule) -> Self {
        Self { rule, last: None }
    }

    /// Records that a group of this many requests was answered.
    pub fn on_group_answered(&mut self, count: usize, now: Instant) {
        self.last = Some((count, now));
    }

    /// What to wait for when `waiting` requests are queued; `None`: flush them now.
    pub fn target(&self, waiting: usize, now: Instant) -> Option<GatherTarget> {
        let (count, at) = self.last?;
        let under_load = count > self.rule.above && now.saturating_duration_since(at) <= self.rule.recent;
        (under_load && waiting < count).then(|| GatherTarget { count, until: now + self.rule.max_wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn after(count: usize) -> (GroupGatherer, Instant) {
        let (mut gather, now) = (GroupGatherer::new(GatherRule::default()), Instant::now());
        gather.on_group_answered(count, now);
        (gather, now)
    }

    #[test]
    fn after_a_large_group_as_many_requests_are_gathered() {
        let (gather, now) = after(40);
        let soon = now + 100 * US;
        assert_eq!(gather.target(1, soon), Some(GatherTarget { count: 40, until: soon + 150 * US }));
        assert_eq!(gather.target(39, soon), Some(GatherTarget { count: 40, until: soon + 150 * US }));
        assert_eq!(gather.target(40, soon), None);
        assert_eq!(gather.target(41, soon), None);
    }

    #[test]
    fn a_single_request_never_waits() {
        let now = Instant::now();
        assert_eq!(GroupGatherer::new(GatherRule::default()).target(1, now), None, "first request");
        let (gather, now) = after(1);
        assert_eq!(gather.target(1, now), None, "after another single request");
        let (gather, now) = after(8);
        assert_eq!(gather.target(1, now), None, "after a small group");
        let (gather, now) = after(1000);
        assert_eq!(gather.target(1, now + 1001 * US), None, "after the load has ended");
    }
}
