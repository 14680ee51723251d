//! What the store counts.

use prometheus::{Error, HistogramVec, IntCounter, IntGauge};

use crate::metrics::Registry;

/// Metrics of the store.
pub struct Metrics {
    /// Durations of calls, by step.
    pub step_seconds: HistogramVec,
    /// 1 while Redis is not asked because it did not answer.
    pub breaker_open: IntGauge,
    /// Keys that the embedded store removed early, because it has as many as it may.
    pub entries_hit: IntCounter,
    /// Messages of a subscription that nobody took in time.
    pub messages_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            step_seconds: registry.step_seconds(),
            breaker_open: registry.breaker_open("redis"),
            entries_hit: registry.bound_hit("kv_entries"),
            messages_hit: registry.bound_hit("kv_messages"),
        })
    }
}
