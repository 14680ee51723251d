//! The `[drain]` section.

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config_error::ConfigError;
use crate::units::{Span, ThreadCount};

/// Settings of the delivery from the log to Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Number of workers, each with its own producer.
    pub workers: ThreadCount,
    /// Delivery guarantee.
    pub delivery: DeliveryGuarantee,
    /// Maximum time for which a transaction gathers records.
    pub transaction_interval: Span,
    /// Action when Kafka has seen more of this log than the log contains.
    pub on_restored_log: OnRestoredLog,
    /// First delay between attempts.
    pub retry_backoff_min: Span,
    /// Maximum delay between attempts.
    pub retry_backoff_max: Span,
    /// Interval at which the delivery positions are made durable.
    pub checkpoint_interval: Span,
    /// How long the brokers may reject a topic before its records become dead letters. Zero means indefinitely.
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

/// Delivery guarantee: whether a crash may repeat records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryGuarantee {
    /// A crash may repeat records.
    AtLeastOnce,
    /// No record is repeated.
    ExactlyOnce,
}

/// Action when Kafka has seen more of this log than the log contains. Either the log is an older copy, or another
/// copy is still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRestoredLog {
    /// Send nothing. The daemon still accepts commands.
    Stop,
    /// Records that both copies share and that Kafka has are done. All others are sent.
    ContinueAfterKafka,
    /// Every record that this copy's own checkpoint does not record as done is sent, though Kafka may have it.
    Resend,
}

impl Config {
    /// Number of workers on this machine. A producer moves 160,000 records per second and has ten threads.
    pub fn worker_count(&self) -> usize {
        self.workers.resolve(|cores| cores.clamp(2, 8))
    }

    /// The delays between attempts.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.retry_backoff_min.0, self.retry_backoff_max.0)
    }

    /// Reports all invalid settings at once.
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

/// Far below the timeout after which a broker aborts a transaction.
const MAX_TRANSACTION_INTERVAL: Span = Span::secs(1);

/// Half the number of lanes. With more workers, some would run a producer's ten threads for a single lane.
pub(super) const MAX_WORKERS: usize = ThreadCount::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_error_is_reported_with_its_key() {
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
    fn the_default_is_valid_and_round_trips() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
        assert!((2..=8).contains(&Config::default().worker_count()));
    }
}
