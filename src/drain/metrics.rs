//! What the drain counts.

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGaugeVec};

use crate::metrics::{Registry, buckets};

/// Metrics of the drain.
pub struct Metrics {
    /// Records parked, by topic.
    pub parked: IntGaugeVec,
    /// Records confirmed by the broker, by topic.
    pub sent: IntCounterVec,
    /// Records sent again.
    pub retried: IntCounter,
    /// Dead letters written, by reason.
    pub dead: IntCounterVec,
    /// Accepted to confirmed.
    pub latency: Histogram,
    /// Workers by state.
    pub workers: IntGaugeVec,
    /// The reader went on without a worker whose queue was full.
    pub queue_hit: IntCounter,
    /// A worker has as much in flight as it may.
    pub window_hit: IntCounter,
    /// A worker waits for as many passwords to be hashed as it may.
    pub hash_ahead_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            parked: registry.gauges(
                "forebay_drain_parked",
                "Records or partitions parked, by topic",
                "topic",
            )?,
            sent: registry.counters(
                "forebay_drain_sent_total",
                "Records confirmed by the broker",
                &["topic"],
            )?,
            retried: registry.counter("forebay_drain_retried_total", "Records sent again")?,
            dead: registry.counters("forebay_drain_dead_total", "Dead letters written", &["reason"])?,
            latency: registry.histogram(
                "forebay_drain_latency_seconds",
                "Accepted to confirmed",
                buckets::DELIVERY_SECONDS,
            )?,
            workers: registry.gauges("forebay_drain_workers", "Workers by state", "state")?,
            queue_hit: registry.bound_hit("drain_queue"),
            window_hit: registry.bound_hit("drain_window"),
            hash_ahead_hit: registry.bound_hit("hash_ahead"),
        })
    }
}
