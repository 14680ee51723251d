//! A tracer for tests that captures spans.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use prometheus::IntCounter;

use super::queue::SpanQueue;
use super::ratio::SampleRatio;
use super::tracer::Tracer;

/// The captured spans.
pub(crate) struct CapturedSpans(Arc<SpanQueue>);

impl CapturedSpans {
    /// Removes and returns the spans.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        let spans = self.0.next_batch(Duration::ZERO).unwrap_or_default();
        let scope = InstrumentationScope::builder("test").build();
        spans.into_iter().map(|span| span.into_data(&scope)).collect()
    }
}

/// A tracer that samples this fraction of requests without a trace.
pub(crate) fn captured(ratio: f64) -> (Tracer, CapturedSpans) {
    let queue = Arc::new(SpanQueue::new(&IntCounter::new("dropped", "dropped").unwrap()));
    (Tracer::new(&queue, SampleRatio(ratio)), CapturedSpans(queue))
}

/// A sampled `traceparent` whose ids consist of this digit.
pub(crate) fn sampled(digit: &str) -> String {
    format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16))
}
