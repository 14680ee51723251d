//! Metrics of the commit path.

use prometheus::{Error, Histogram, IntCounter, IntCounterVec};

use crate::metrics::{Registry, TopicMetrics, buckets};

/// Metrics of ingest.
pub struct Metrics {
    /// Records by topic.
    pub topics: TopicMetrics,
    /// Queue, write and flush of one request.
    pub commit_seconds: Histogram,
    /// Rebuilds of the idempotency index, or of a part of it, by cause.
    pub index_rebuilds: IntCounterVec,
    /// The queue of the commit thread is full.
    pub queue_hit: IntCounter,
    /// A flush took longer than a request waits.
    pub deadline_hit: IntCounter,
    /// The backlog reached its limit.
    pub backlog_hit: IntCounter,
    /// The disk has too little free space for a record.
    pub disk_hit: IntCounter,
    /// The next segment was not ready in time.
    pub segment_hit: IntCounter,
    /// The idempotency index holds its maximum number of keys in memory.
    pub index_keys_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            topics: registry.topics(),
            commit_seconds: registry.histogram(
                "forebay_wal_commit_seconds",
                "Time of a request from the queue to the end of its flush, in seconds. Worry when the 95th \
                 percentile is above 0.2.",
                buckets::FLUSH_SECONDS,
            )?,
            index_rebuilds: registry.counters(
                "forebay_index_rebuilds_total",
                "Rebuilds of the idempotency index, or of a part of it, by cause: ahead_of_log, \
                 memory_full, mismatch, unreadable. Worry at any increase.",
                "cause",
                &[],
            )?,
            queue_hit: registry.bound_hit("commit_queue"),
            deadline_hit: registry.bound_hit("flush_deadline"),
            backlog_hit: registry.bound_hit("backlog"),
            disk_hit: registry.bound_hit("disk"),
            segment_hit: registry.bound_hit("next_segment"),
            index_keys_hit: registry.bound_hit("index_keys"),
        })
    }
}
