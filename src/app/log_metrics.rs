//! What is counted of the log: the log itself knows no metrics.
//!
//! Gauges are set before each scrape, so that they are true at that moment.

use prometheus::{Error, Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec};

use crate::metrics::{Registry, buckets};

/// Metrics of the log.
pub(super) struct LogMetrics {
    /// Records accepted and not yet confirmed.
    pub(super) backlog: IntGauge,
    /// Age of the oldest of them, in-flight ones included.
    pub(super) oldest_age: Gauge,
    /// The same with records parked in back-off left out.
    pub(super) oldest_waiting_age: Gauge,
    /// Bytes of the backlog.
    pub(super) backlog_bytes: IntGauge,
    /// Segments by state: `open`, `pending`, `acked`.
    pub(super) segments: IntGaugeVec,
    /// Records appended.
    pub(super) appended: IntCounter,
    /// Their bytes, frames included.
    pub(super) appended_bytes: IntCounter,
    /// One flush.
    pub(super) flush_seconds: Histogram,
    /// Records that shared one flush.
    pub(super) commit_records: Histogram,
    /// 1 once the log failed.
    pub(super) poisoned: IntGauge,
    /// Free bytes of the log's file system.
    pub(super) free_bytes: IntGauge,
    /// For how long a repetition is recognised.
    pub(super) idempotency_window: Gauge,
    /// Everything accepted before this instant is delivered or dead.
    pub(super) watermark_timestamp: Gauge,
    /// Dead letters in the store.
    pub(super) dead_letters: IntGauge,
    /// Delivered segments given up before their time, because acceptance needed the room.
    pub(super) retention_yielded: IntCounter,
    /// There was no room for another segment.
    pub(super) disk_hit: IntCounter,
    /// Places in Kafka of sent records that were forgotten, because as many are remembered as may be.
    pub(super) sent_notes_hit: IntCounter,
}

impl LogMetrics {
    /// Registers them.
    pub(super) fn register(registry: &Registry) -> Result<Self, Error> {
        let r = registry;
        Ok(Self {
            backlog: r.gauge("kafka_producer_wal_backlog", "Records accepted and not yet confirmed")?,
            oldest_age: r.float_gauge(
                "kafka_producer_wal_oldest_age_seconds",
                "Age of the oldest unconfirmed record",
            )?,
            oldest_waiting_age: r.float_gauge(
                "forebay_wal_oldest_waiting_age_seconds",
                "Age of the oldest unconfirmed record that is not parked in back-off",
            )?,
            backlog_bytes: r.gauge("forebay_wal_backlog_bytes", "Bytes not yet delivered")?,
            segments: r.gauges("forebay_wal_segments", "Segments by state", "state")?,
            appended: r.counter("forebay_wal_append_total", "Records appended")?,
            appended_bytes: r.counter("forebay_wal_append_bytes_total", "Bytes appended, frames included")?,
            flush_seconds: r.histogram("forebay_wal_flush_seconds", "One flush", buckets::FLUSH_SECONDS)?,
            commit_records: r.histogram(
                "forebay_wal_commit_records",
                "Records that shared a flush",
                buckets::BATCH_RECORDS,
            )?,
            poisoned: r.gauge("forebay_wal_poisoned", "1 once the log failed")?,
            free_bytes: r.gauge("forebay_wal_free_bytes", "Free bytes of the log's file system")?,
            idempotency_window: r.float_gauge(
                "forebay_idempotency_window_seconds",
                "For how long a repeated Idempotency-Key is recognised",
            )?,
            watermark_timestamp: r.float_gauge(
                "forebay_wal_watermark_timestamp_seconds",
                "Everything accepted before this instant is delivered or dead",
            )?,
            dead_letters: r.gauge("forebay_dead_letters", "Dead letters in the store")?,
            retention_yielded: r.counter(
                "forebay_wal_retention_yielded_total",
                "Delivered segments given up early to make room",
            )?,
            disk_hit: r.bound_hit("disk"),
            sent_notes_hit: r.bound_hit("sent_notes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_gauges_that_alerts_are_built_on_keep_their_names() {
        let registry = Registry::new().unwrap();
        let metrics = LogMetrics::register(&registry).unwrap();
        metrics.backlog.set(3);
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        assert!(text.contains("\nkafka_producer_wal_backlog 3\n"), "{text}");
        assert!(text.contains("\nkafka_producer_wal_oldest_age_seconds 0\n"), "{text}");
    }
}
