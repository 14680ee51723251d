//! Metrics of the drain.

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGaugeVec};

use crate::drain::{dead_reason, monitor};
use crate::metrics::{Registry, TopicMetrics, buckets};

/// Metrics of the drain.
pub struct Metrics {
    /// Records by topic.
    pub topics: TopicMetrics,
    /// Records parked, by topic.
    pub parked: IntGaugeVec,
    /// Records confirmed by the broker, by topic.
    pub sent: IntCounterVec,
    /// Records sent again.
    pub retried: IntCounter,
    /// Dead letters written, by reason.
    pub dead: IntCounterVec,
    /// Time from acceptance to confirmation.
    pub latency: Histogram,
    /// Workers by state.
    pub workers: IntGaugeVec,
    /// How often the reader continued without a worker whose queue was full.
    pub queue_hit: IntCounter,
    /// How often a worker reached its in-flight limit.
    pub window_hit: IntCounter,
    /// How often a worker reached its limit of passwords that wait to be hashed.
    pub hash_ahead_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics. `known` lists topics that exist from the start.
    pub fn register(registry: &Registry, known: &[&str]) -> Result<Self, Error> {
        Ok(Self {
            topics: registry.topics(),
            parked: registry.gauges(
                "forebay_drain_parked",
                "Records or partitions parked, by topic. Worry when it does not fall for minutes: Kafka \
                 rejects the topic.",
                "topic",
                known,
            )?,
            sent: registry.counters(
                "forebay_drain_sent_total",
                "Records that Kafka confirmed, by topic. Worry when it stops increasing while the topic has \
                 a backlog.",
                "topic",
                known,
            )?,
            retried: registry.counter(
                "forebay_drain_retried_total",
                "Records sent again. Worry when its rate is near that of forebay_drain_sent_total.",
            )?,
            dead: registry.counters(
                "forebay_drain_dead_total",
                "Records that became dead letters, by reason. Worry at any increase.",
                "reason",
                dead_reason::CODES,
            )?,
            latency: registry.histogram(
                "forebay_drain_latency_seconds",
                "Time from accepted to confirmed, in seconds. Worry when the 99th percentile is above the \
                 delay that the readers of your topics tolerate.",
                buckets::DELIVERY_SECONDS,
            )?,
            workers: registry.gauges(
                "forebay_drain_workers",
                "Workers by state: running, waiting, paused, rebuilding. Worry when all are rebuilding, or \
                 paused for an unknown reason.",
                "state",
                &monitor::STATES,
            )?,
            queue_hit: registry.bound_hit("drain_queue"),
            window_hit: registry.bound_hit("drain_window"),
            hash_ahead_hit: registry.bound_hit("hash_ahead"),
        })
    }
}
