//! The `[drain]` section.

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config_error::ConfigError;
use crate::units::{Span, ThreadCount};

/// How the log is passed on to Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many workers, each with a producer of its own.
    pub workers: ThreadCount,
    /// What is promised about repeats.
    pub delivery: DeliveryGuarantee,
    /// How long a transaction gathers records, at most.
    pub transaction_interval: Span,
    /// What to do when Kafka has seen more of this log than it holds.
    pub on_restored_log: OnRestoredLog,
    /// First delay of whatever is tried again.
    pub retry_backoff_min: Span,
    /// Largest delay.
    pub retry_backoff_max: Span,
    /// How often the positions are made durable.
    pub checkpoint_interval: Span,
    /// How long a topic may be refused before its records are dead letters; zero: for ever.
    pub topic_fault_grace: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: ThreadCount::Auto,
            delivery: DeliveryGuarantee::AtLeastOnce,
            transaction_interval: Span::millis(50),
            on_restored_log: OnRestoredLog::Stop,
            retry_backoff_min: Span::millis(100),
            retry_backoff_max: Span::secs(30),
            checkpoint_interval: Span::secs(1),
            topic_fault_grace: Span::secs(60),
        }
    }
}

/// What is promised about repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryGuarantee {
    /// A crash may repeat records.
    AtLeastOnce,
    /// Nothing is repeated.
    ExactlyOnce,
}

/// What to do when Kafka has seen more of this log than it holds: it is an older copy, or another copy is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRestoredLog {
    /// Send nothing. Accepting goes on.
    Stop,
    /// What both copies share and Kafka has is done; all else is sent.
    ContinueAfterKafka,
    /// Whatever this copy's own checkpoint does not call done is sent, though Kafka may have it.
    Resend,
}

impl Config {
    /// How many workers there are on this machine. A producer moves 160,000 records a second and has ten threads.
    pub fn worker_count(&self) -> usize {
        self.workers.resolve(|cores| cores.clamp(2, 8))
    }

    /// The delays of whatever is tried again.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.retry_backoff_min.0, self.retry_backoff_max.0)
    }

    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        if let Some(count) = self.workers.above_max() {
            mistakes.push(ConfigError::new("drain", "workers", count, ThreadCount::ALLOWED));
        }
        if self.transaction_interval.0.is_zero() || self.transaction_interval > MAX_TRANSACTION_INTERVAL {
            let found = self.transaction_interval;
            mistakes.push(ConfigError::new(
                "drain",
                "transaction_interval",
                found,
                "more than 0s, at most 1s",
            ));
        }
        let (min, max) = (self.retry_backoff_min, self.retry_backoff_max);
        if min.0.is_zero() {
            mistakes.push(ConfigError::new("drain", "retry_backoff_min", min, "more than 0s"));
        }
        if max < min {
            mistakes.push(ConfigError::new("drain", "retry_backoff_max", max, "at least retry_backoff_min"));
        }
        if self.checkpoint_interval.0.is_zero() {
            mistakes.push(ConfigError::new(
                "drain",
                "checkpoint_interval",
                self.checkpoint_interval,
                "more than 0s",
            ));
        }
        mistakes
    }
}

/// Far below the time after which a broker aborts a transaction.
const MAX_TRANSACTION_INTERVAL: Span = Span::secs(1);

/// Half the lanes: with more, some would have a single lane and a producer's ten threads for it.
pub(super) const MAX_WORKERS: usize = ThreadCount::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let config: Config = toml::from_str(
            "workers = 129\ntransaction_interval = \"2s\"\nretry_backoff_min = \"0s\"\n\
             checkpoint_interval = \"0s\"",
        )
        .unwrap();
        let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
        assert_eq!(keys, ["workers", "transaction_interval", "retry_backoff_min", "checkpoint_interval"]);
        assert!(toml::from_str::<Config>("workers = 0").is_err());
    }

    #[test]
    fn the_default_is_right_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
        assert!((2..=8).contains(&Config::default().worker_count()));
    }
}
