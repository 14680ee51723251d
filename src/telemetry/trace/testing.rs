//! A tracer for tests, whose spans can be looked at.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use prometheus::IntCounter;

use super::queue::SpanQueue;
use super::ratio::SampleRatio;
use super::tracer::Tracer;

/// The spans that were handed in.
pub(crate) struct CapturedSpans(Arc<SpanQueue>);

impl CapturedSpans {
    /// Takes them out.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        let spans = self.0.next_batch(Duration::ZERO).unwrap_or_default();
        let scope = InstrumentationScope::builder("test").build();
        spans.into_iter().map(|span| span.into_data(&scope)).collect()
    }
}

/// A tracer that samples this share of requests without a trace.
pub(crate) fn captured(ratio: f64) -> (Tracer, CapturedSpans) {
    let queue = Arc::new(SpanQueue::new(&IntCounter::new("dropped", "dropped").unwrap()));
    (Tracer::new(&queue, SampleRatio(ratio)), CapturedSpans(queue))
}

/// A sampled `traceparent` whose ids have only this digit.
pub(crate) fn sampled(digit: &str) -> String {
    format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16))
}
