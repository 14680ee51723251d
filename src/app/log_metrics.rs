//! Counters fed by the events of the log. The log itself has no dependency on metrics.

use prometheus::{Error, Histogram, IntCounter};

use crate::metrics::{Registry, buckets};

/// Counters of the log.
pub(super) struct LogMetrics {
    /// Records appended.
    pub(super) appended: IntCounter,
    /// Bytes appended, including frames.
    pub(super) appended_bytes: IntCounter,
    /// Duration of a flush in seconds.
    pub(super) flush_seconds: Histogram,
    /// Number of records that shared one flush.
    pub(super) commit_records: Histogram,
    /// Delivered segments that were deleted early, because acceptance needed the space.
    pub(super) retention_yielded: IntCounter,
    /// Attempts to create a segment that failed for lack of space.
    pub(super) disk_hit: IntCounter,
    /// Delivery positions that were dropped because the delivery index was full.
    pub(super) sent_notes_hit: IntCounter,
}

impl LogMetrics {
    /// Registers the counters.
    pub(super) fn register(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            appended: r.counter(
                "forebay_wal_append_total",
                "Records appended to the log. Worry when its rate falls to 0 although clients send.",
            )?,
            appended_bytes: r.counter(
                "forebay_wal_append_bytes_total",
                "Bytes appended to the log, frames included. Worry when its rate is near what wal-tools \
                 bench-disk shows.",
            )?,
            flush_seconds: r.histogram(
                "forebay_wal_flush_seconds",
                "Duration of a flush, in seconds. Worry when the 99th percentile is above 0.1: the disk is \
                 slow or about to fail.",
                buckets::FLUSH_SECONDS,
            )?,
            commit_records: r.histogram(
                "forebay_wal_commit_records",
                "Records that shared a flush. No reason to worry: it grows with load.",
                buckets::BATCH_RECORDS,
            )?,
            retention_yielded: r.counter(
                "forebay_wal_retention_yielded_total",
                "Delivered segments that were deleted early to make room. Worry at any increase: replay and \
                 Idempotency-Key reach less far back.",
            )?,
            disk_hit: r.bound_hit("disk"),
            sent_notes_hit: r.bound_hit("sent_notes"),
        })
    }
}
