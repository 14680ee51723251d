//! When the commit thread waits for more requests before it writes and flushes.
//!
//! Under load the clients of the last group send their next requests within a fraction of a millisecond. A flush that
//! begins with the first of them makes all others wait for a second flush. A lone request has no company to wait for:
//! it is flushed at once.

use std::time::{Duration, Instant};

/// When to gather. The default is what was measured to be best; models of the commit path gather always.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Groups of at most so many requests are no load.
    pub above: usize,
    /// How long to wait at most: about one flush.
    pub patience: Duration,
    /// A group that was answered longer ago says nothing about what comes: about ten flushes.
    pub recent: Duration,
}

impl Default for Rule {
    fn default() -> Self {
        Self { above: 8, patience: Duration::from_micros(150), recent: Duration::from_millis(1) }
    }
}

/// What to wait for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// As many requests as this.
    pub count: usize,
    /// Not longer than this.
    pub until: Instant,
}

/// Remembers the previous group. Takes the time as an argument.
#[derive(Debug)]
pub(super) struct Gather {
    rule: Rule,
    last: Option<(usize, Instant)>,
}

impl Gather {
    pub fn new(rule: Rule) -> Self {
        Self { rule, last: None }
    }

    /// A group of so many requests was answered.
    pub fn answered(&mut self, count: usize, now: Instant) {
        self.last = Some((count, now));
    }

    /// What to wait for now that `waiting` requests are there; `None`: flush them.
    pub fn wish(&self, waiting: usize, now: Instant) -> Option<Wish> {
        let (count, at) = self.last?;
        let under_load = count > self.rule.above && now.saturating_duration_since(at) <= self.rule.recent;
        (under_load && waiting < count).then(|| Wish { count, until: now + self.rule.patience })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn after(count: usize) -> (Gather, Instant) {
        let (mut gather, now) = (Gather::new(Rule::default()), Instant::now());
        gather.answered(count, now);
        (gather, now)
    }

    #[test]
    fn after_a_large_group_as_many_are_gathered_again_for_a_short_time() {
        let (gather, now) = after(40);
        let soon = now + 100 * US;
        assert_eq!(gather.wish(1, soon), Some(Wish { count: 40, until: soon + 150 * US }));
        assert_eq!(gather.wish(39, soon), Some(Wish { count: 40, until: soon + 150 * US }));
        assert_eq!(gather.wish(40, soon), None);
        assert_eq!(gather.wish(41, soon), None);
    }

    #[test]
    fn a_lone_request_never_waits() {
        let now = Instant::now();
        assert_eq!(Gather::new(Rule::default()).wish(1, now), None, "the first one");
        let (gather, now) = after(1);
        assert_eq!(gather.wish(1, now), None, "after another lone one");
        let (gather, now) = after(8);
        assert_eq!(gather.wish(1, now), None, "after a few");
        let (gather, now) = after(1000);
        assert_eq!(gather.wish(1, now + 1001 * US), None, "when the load is over");
    }
}
