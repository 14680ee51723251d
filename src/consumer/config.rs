//! Configuration section `[consumer]`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::units::Span;

/// How user commands are applied to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `forebay serve` applies user commands. Default: only in embedded mode. `forebay consume` always does.
    pub enabled: Option<bool>,
    /// Kafka consumer group, shared by all consumers.
    pub group: String,
    /// Maximum number of commands per transaction.
    pub batch_size: u32,
    /// How long a batch waits for more commands.
    pub batch_wait: Span,
    /// How often a command that the database rejects is retried before it becomes a dead letter.
    pub retry_attempts: u32,
    /// First delay before a retry, and before the next attempt when the database is unavailable.
    pub retry_backoff_min: Span,
    /// Maximum delay.
    pub retry_backoff_max: Span,
    /// Whether only the core columns are written.
    pub degraded: Degraded,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            group: "forebay".to_owned(),
            batch_size: 500,
            batch_wait: Span::millis(5),
            retry_attempts: 8,
            retry_backoff_min: Span::secs(1),
            retry_backoff_max: Span::secs(60),
            degraded: Degraded::Auto,
        }
    }
}

/// Degraded mode: columns that can wait go to a side table and are merged when the database has recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Degraded {
    /// Never active.
    Off,
    /// Active until the setting is changed.
    On,
    /// Active while transactions are slow.
    Auto,
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto => "auto",
        })
    }
}

/// A larger batch locks its rows longer and gains nothing: enough commands already share the cost of a commit.
const MAX_BATCH: u32 = 2_000;
/// Longer waits would delay the clients of the batch's commands.
const MAX_BATCH_WAIT: Span = Span::secs(1);
/// Later commands of the same user wait for the retry.
const MAX_BACKOFF: Span = Span::secs(3600);
/// With more attempts, a dead letter would come too late to be useful.
const MAX_ATTEMPTS: u32 = 1_000;

impl Config {
    /// Returns all errors of the section.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, found: &dyn fmt::Display, allowed: &str| {
            mistakes.push(ConfigError::new("consumer", key, found, allowed));
        };
        if self.group.is_empty() {
            wrong("group", &"\"\"", "a name");
        }
        if !(1..=MAX_BATCH).contains(&self.batch_size) {
            wrong("batch_size", &self.batch_size, "1 to 2000");
        }
        if self.batch_wait > MAX_BATCH_WAIT {
            wrong("batch_wait", &self.batch_wait, "0s to 1s");
        }
        if self.retry_attempts > MAX_ATTEMPTS {
            wrong("retry_attempts", &self.retry_attempts, "0 to 1000");
        }
        let (min, max) = (self.retry_backoff_min, self.retry_backoff_max);
        if min.0.is_zero() {
            wrong("retry_backoff_min", &min, "more than 0s");
        }
        if max < min || max > MAX_BACKOFF {
            wrong("retry_backoff_max", &max, "retry_backoff_min to 1h");
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_error_is_reported_with_its_key() {
        let config: Config = toml::from_str(
            "group = \"\"\nbatch_size = 0\nbatch_wait = \"2s\"\nretry_attempts = 1001\n\
             retry_backoff_min = \"0s\"\nretry_backoff_max = \"2h\"",
        )
        .unwrap();
        let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
        let all =
            ["group", "batch_size", "batch_wait", "retry_attempts", "retry_backoff_min", "retry_backoff_max"];
        assert_eq!(keys, all);
        assert!(toml::from_str::<Config>("degraded = \"maybe\"").is_err());
    }

    #[test]
    fn the_default_is_valid_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }
}
