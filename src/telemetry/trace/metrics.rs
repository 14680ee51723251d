//! What the export of spans counts.

use prometheus::{Error, IntCounter};

use crate::metrics::Registry;

/// Reasons for which a span is dropped: there is no room for it, or the collector does not take it.
const QUEUE_FULL: &str = "queue_full";
const EXPORT_FAILED: &str = "export_failed";

/// Metrics of the export.
#[derive(Clone)]
pub struct Metrics {
    /// Spans that the collector took.
    pub exported: IntCounter,
    /// Spans that found the queue full.
    pub queue_full: IntCounter,
    /// Spans that the collector did not take.
    pub export_failed: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let dropped = registry.counters(
            "forebay_telemetry_spans_dropped_total",
            "Spans that were not exported, by reason: queue_full, export_failed (the collector is \
             unavailable or refuses them). Worry at any increase: traces have gaps, commands have none.",
            "reason",
            &[QUEUE_FULL, EXPORT_FAILED],
        )?;
        Ok(Self {
            exported: registry.counter(
                "forebay_telemetry_spans_exported_total",
                "Spans that the collector took. Worry when it stands still although requests are sampled.",
            )?,
            queue_full: dropped.with_label_values(&[QUEUE_FULL]),
            export_failed: dropped.with_label_values(&[EXPORT_FAILED]),
        })
    }
}
