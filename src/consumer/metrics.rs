//! Metrics of the consumer.

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{Registry, buckets};

/// Metrics of the consumer.
pub struct Metrics {
    /// User commands by outcome: `applied`, `rejected`, `repeat`, `retry`, `dead`.
    pub applied: IntCounterVec,
    /// Commands about users in Kafka that this process has not settled yet.
    pub lag: IntGauge,
    /// Commands sent to the retry topic.
    pub retried: IntCounter,
    /// Commands sent to the dead-letter topic.
    pub dead: IntCounter,
    /// 1 while nothing is applied.
    pub blocked: IntGauge,
    /// Number of commands per transaction.
    pub batch_records: Histogram,
    /// The queue of reservations to be removed is full.
    pub markers_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            applied: registry.counters(
                "forebay_consumer_applied_total",
                "Commands about users, by outcome: applied, rejected, repeat, retry, dead. Worry when dead \
                 grows, or retry for minutes.",
                "outcome",
                &["applied", "rejected", "repeat", "retry", "dead"],
            )?,
            lag: registry.gauge(
                "forebay_consumer_lag",
                "Commands about users in Kafka that this process has not settled yet. Worry when it grows \
                 for minutes.",
            )?,
            retried: registry.counter(
                "forebay_consumer_retry_total",
                "Commands sent to the retry topic. Worry when it grows for minutes.",
            )?,
            dead: registry.counter(
                "forebay_consumer_dead_total",
                "Commands sent to the dead-letter topic. Worry at any increase.",
            )?,
            blocked: registry.gauge(
                "forebay_consumer_blocked",
                "1 while nothing is applied: the database cannot be written, or no command is settled. \
                 Worry at 1.",
            )?,
            batch_records: registry.histogram(
                "forebay_consumer_batch_records",
                "Commands that shared a transaction. No reason to worry: it grows with load.",
                buckets::BATCH_RECORDS,
            )?,
            markers_hit: registry.bound_hit("consumer_markers"),
        })
    }
}
