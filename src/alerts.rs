//! Thresholds above which the backlog is reported as a problem. Configuration section `[alerts]`.

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::units::Span;

/// Thresholds and their check interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Interval between two checks of the backlog and its age.
    pub interval: Span,
    /// Number of undelivered records from which the backlog is a problem.
    pub backlog_threshold: u64,
    /// Age of the oldest undelivered record from which the backlog is a problem.
    pub oldest_age_threshold: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Span::secs(5), backlog_threshold: 100_000, oldest_age_threshold: Span::secs(60) }
    }
}

impl Config {
    /// Checks the keys of this section. Returns one error per invalid key.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let interval = self.interval;
        if !(Span::millis(100)..=Span::secs(3600)).contains(&interval) {
            mistakes.push(ConfigError::new("alerts", "interval", interval, "100ms to 1h"));
        }
        if self.backlog_threshold == 0 {
            mistakes.push(ConfigError::new("alerts", "backlog_threshold", 0, "at least 1"));
        }
        if self.oldest_age_threshold == Span::default() {
            mistakes.push(ConfigError::new("alerts", "oldest_age_threshold", "0s", "more than 0s"));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_that_are_always_exceeded_are_errors() {
        assert_eq!(Config::default().validate(), []);
        let zero = Span::default();
        let wrong = Config { interval: zero, backlog_threshold: 0, oldest_age_threshold: zero };
        assert_eq!(wrong.validate().len(), 3);
    }
}
