//! Metrics of the export of spans.

use prometheus::{Error, IntCounter};

use crate::metrics::Registry;

/// Reasons for dropping a span: the queue is full, or the collector rejects it.
const QUEUE_FULL: &str = "queue_full";
const EXPORT_FAILED: &str = "export_failed";

/// Metrics of the export.
#[derive(Clone)]
pub struct Metrics {
    /// Spans accepted by the collector.
    pub exported: IntCounter,
    /// Spans dropped because the queue was full.
    pub queue_full: IntCounter,
    /// Spans that the collector did not accept.
    pub export_failed: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
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
