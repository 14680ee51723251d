//! Gauges of the log. They are updated before each scrape, so that they are current.

use prometheus::{Error, Gauge, IntGauge, IntGaugeVec};

use crate::metrics::{Registry, TopicMetrics};

/// The gauges.
pub(super) struct LogGauges {
    /// Number of records accepted and not yet confirmed.
    pub(super) backlog: IntGauge,
    /// Age of the oldest of these records, including those in flight.
    pub(super) oldest_age: Gauge,
    /// The same age, without records that are parked.
    pub(super) oldest_waiting_age: Gauge,
    /// Size of the backlog in bytes.
    pub(super) backlog_bytes: IntGauge,
    /// Number of segments by state: `open`, `pending`, `acked`.
    pub(super) segments: IntGaugeVec,
    /// 1 after the log has failed.
    pub(super) poisoned: IntGauge,
    /// Time of the last failure in an earlier run.
    pub(super) last_failure: Gauge,
    /// Free bytes on the log's file system.
    pub(super) free_bytes: IntGauge,
    /// Period in seconds for which a repeated idempotency key is recognised.
    pub(super) idempotency_window: Gauge,
    /// Every record accepted before this time is delivered or dead-lettered.
    pub(super) watermark_timestamp: Gauge,
    /// Number of stored dead letters.
    pub(super) dead_letters: IntGauge,
    /// Number of records by topic.
    pub(super) topics: TopicMetrics,
}

impl LogGauges {
    /// Registers the gauges.
    pub(super) fn register(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            backlog: r.gauge(
                "kafka_producer_wal_backlog",
                "Records accepted and not confirmed by Kafka. Worry when it grows for minutes: Kafka is \
                 unavailable, or slower than the clients.",
            )?,
            oldest_age: r.float_gauge(
                "kafka_producer_wal_oldest_age_seconds",
                "Age of the oldest record that is not confirmed, in flight included, in seconds. Worry \
                 above the delay that the readers of your topics tolerate.",
            )?,
            oldest_waiting_age: r.float_gauge(
                "forebay_wal_oldest_waiting_age_seconds",
                "Age of the oldest record that is neither confirmed nor parked, in seconds. \
                 Worry when it grows: delivery has stopped.",
            )?,
            backlog_bytes: r.gauge(
                "forebay_wal_backlog_bytes",
                "Bytes of the backlog in the log. Worry near max_backlog_size, or the size of the disk.",
            )?,
            segments: r.gauges(
                "forebay_wal_segments",
                "Segments by state: open (written to), pending (not delivered), acked (delivered, kept for \
                 replay). Worry when pending grows for hours.",
                "state",
                &["open", "pending", "acked"],
            )?,
            poisoned: r.gauge(
                "forebay_wal_poisoned",
                "1 after a write or a flush of the log failed: the daemon accepts nothing and ends. Worry \
                 at 1.",
            )?,
            last_failure: r.float_gauge(
                "forebay_wal_last_failure_timestamp_seconds",
                "When an earlier process ended because a write or a flush of the log failed, in seconds since \
                 1970; 0: never, as far as the disk could keep it. Worry when it changes: check the disk.",
            )?,
            free_bytes: r.gauge(
                "forebay_wal_free_bytes",
                "Free bytes of the log's file system. Worry near reserve_space: below it commands are \
                 refused.",
            )?,
            idempotency_window: r.float_gauge(
                "forebay_idempotency_window_seconds",
                "How long a repeated Idempotency-Key is recognised, in seconds. Worry when clients repeat \
                 requests for longer.",
            )?,
            watermark_timestamp: r.float_gauge(
                "forebay_wal_watermark_timestamp_seconds",
                "Unix time in seconds before which everything accepted is delivered or dead. Worry when it \
                 falls behind the clock.",
            )?,
            dead_letters: r.gauge(
                "forebay_dead_letters",
                "Dead letters in the store. Worry above 0: Kafka did not take them, and an operator decides \
                 about each.",
            )?,
            topics: r.topics(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_gauges_used_by_alerts_keep_their_names() {
        let registry = Registry::new().unwrap();
        let metrics = LogGauges::register(&registry).unwrap();
        metrics.backlog.set(3);
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        assert!(text.contains("\nkafka_producer_wal_backlog 3\n"), "{text}");
        assert!(text.contains("\nkafka_producer_wal_oldest_age_seconds 0\n"), "{text}");
    }
}
