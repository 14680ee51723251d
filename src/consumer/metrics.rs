//! What the consumer counts.

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{Registry, buckets};

/// Metrics of the consumer.
pub struct Metrics {
    /// Users' commands by what became of them: `applied`, `rejected`, `repeat`, `retry`, `dead`.
    pub applied: IntCounterVec,
    /// Users' commands in Kafka that this process has still to apply.
    pub lag: IntGauge,
    /// Commands sent to the retry topic.
    pub retried: IntCounter,
    /// Commands sent to the dead-letter topic.
    pub dead: IntCounter,
    /// 1 while nothing is applied.
    pub blocked: IntGauge,
    /// Commands that shared one transaction.
    pub batch_records: Histogram,
    /// As many reservations wait to be removed as may.
    pub markers_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            applied: registry.counters(
                "forebay_consumer_applied_total",
                "Users' commands by what became of them",
                &["outcome"],
            )?,
            lag: registry.gauge("forebay_consumer_lag", "Users' commands in Kafka still to be applied")?,
            retried: registry.counter("forebay_consumer_retry_total", "Commands sent to the retry topic")?,
            dead: registry
                .counter("forebay_consumer_dead_total", "Commands sent to the dead-letter topic")?,
            blocked: registry.gauge(
                "forebay_consumer_blocked",
                "1 while nothing is applied: the database cannot be written, or no command is settled",
            )?,
            batch_records: registry.histogram(
                "forebay_consumer_batch_records",
                "Commands that shared a transaction",
                buckets::BATCH_RECORDS,
            )?,
            markers_hit: registry.bound_hit("consumer_markers"),
        })
    }
}
