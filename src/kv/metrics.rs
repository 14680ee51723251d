//! Metrics of the key-value store.

use prometheus::{Error, HistogramVec, IntCounter, IntGauge};

use crate::metrics::Registry;

/// Metrics of the key-value store, as registered.
pub struct Metrics {
    /// Duration of calls, by step.
    pub step_seconds: HistogramVec,
    /// 1 while calls to Redis are refused because it was unavailable.
    pub breaker_open: IntGauge,
    /// Keys that the embedded store evicted early, because it reached its maximum number of keys.
    pub entries_hit: IntCounter,
    /// Messages of a subscription that were dropped because its queue was full.
    pub messages_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            step_seconds: registry.step_seconds(),
            breaker_open: registry.breaker_open("redis"),
            entries_hit: registry.bound_hit("kv_entries"),
            messages_hit: registry.bound_hit("kv_messages"),
        })
    }
}
