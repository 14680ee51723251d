//! When the backlog deserves a warning, and when it no longer does. Section `[alerts]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mistake::Mistake;
use crate::units::Span;

/// A warning that stands is repeated this often: seldom enough for a log, often enough not to be forgotten.
const REPEAT_AFTER: Duration = Duration::from_secs(300);

/// Configuration of the warnings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often backlog and age are looked at.
    pub interval: Span,
    /// Records from which on a warning is logged.
    pub backlog_threshold: u64,
    /// Age of the oldest record from which on a warning is logged.
    pub oldest_age_threshold: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Span::secs(5), backlog_threshold: 100_000, oldest_age_threshold: Span::secs(60) }
    }
}

impl Config {
    /// What is wrong with the section by itself.
    pub fn validate(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let interval = self.interval;
        if !(Span::millis(100)..=Span::secs(3600)).contains(&interval) {
            mistakes.push(Mistake::new("alerts", "interval", interval, "100ms to 1h"));
        }
        if self.backlog_threshold == 0 {
            mistakes.push(Mistake::new("alerts", "backlog_threshold", 0, "at least 1"));
        }
        if self.oldest_age_threshold == Span::default() {
            mistakes.push(Mistake::new("alerts", "oldest_age_threshold", "0s", "more than 0s"));
        }
        mistakes
    }
}

/// What to log after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The threshold was passed, or still is and was last said a while ago.
    Passed,
    /// The threshold is past again.
    Over,
}

/// One quantity with its threshold.
pub struct Alert<T> {
    threshold: T,
    /// When the standing warning was last logged, on the caller's clock; none while all is well.
    said: Option<Duration>,
}

impl<T: PartialOrd> Alert<T> {
    /// An alert that is quiet below `threshold`.
    pub fn new(threshold: T) -> Self {
        Self { threshold, said: None }
    }

    /// Looks at `value` at the time `now` of any monotonic clock, and says what to log, if anything.
    pub fn look(&mut self, value: T, now: Duration) -> Option<Notice> {
        if value < self.threshold {
            return self.said.take().map(|_| Notice::Over);
        }
        if self.said.is_some_and(|said| now.saturating_sub(said) < REPEAT_AFTER) {
            return None;
        }
        self.said = Some(now);
        Some(Notice::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_passed_threshold_is_said_once_and_its_end_once() {
        let mut alert = Alert::new(100);
        assert_eq!(alert.look(99, at(0)), None);
        assert_eq!(alert.look(100, at(5)), Some(Notice::Passed));
        assert_eq!(alert.look(500, at(10)), None);
        assert_eq!(alert.look(99, at(15)), Some(Notice::Over));
        assert_eq!(alert.look(0, at(20)), None);
        assert_eq!(alert.look(100, at(25)), Some(Notice::Passed));
    }

    #[test]
    fn a_standing_warning_is_repeated_at_a_bounded_rate() {
        let mut alert = Alert::new(1);
        let looks = (0..=600).step_by(5);
        let said: Vec<_> = looks.filter(|&second| alert.look(1, at(second)).is_some()).collect();
        assert_eq!(said, [0, 300, 600]);
    }

    #[test]
    fn thresholds_that_always_hold_are_mistakes() {
        assert_eq!(Config::default().validate(), []);
        let zero = Span::default();
        let wrong = Config { interval: zero, backlog_threshold: 0, oldest_age_threshold: zero };
        assert_eq!(wrong.validate().len(), 3);
    }
}
