//! Starts and continues traces, and records spans.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};

use super::context::TraceContext;
use super::flush_times::FlushTimes;
use super::queue::SpanQueue;
use super::ratio::SampleRatio;
use super::span::Span;
use crate::units::Lsn;

/// Records spans. Clones share the queue. The default tracer samples and records nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: Arc<SpanQueue>,
    /// For requests without a trace.
    sampler: Sampler,
    ids: RandomIdGenerator,
    flushes: FlushTimes,
}

/// A sampled request that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct SampledRequest {
    context: TraceContext,
    parent: Option<SpanId>,
    started_at: SystemTime,
}

impl SampledRequest {
    /// Context of the request's span, the parent of all following spans.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// The request's span, which ends now.
    pub fn finish(&self, name: String) -> Span {
        Span::server(self.context, self.parent, name).lasted(self.started_at, SystemTime::now())
    }
}

impl Tracer {
    /// Creates a tracer that samples this fraction of requests without a trace.
    pub(super) fn new(queue: &Arc<SpanQueue>, ratio: SampleRatio) -> Self {
        let sampler = Sampler::TraceIdRatioBased(ratio.0);
        let (queue, ids, flushes) = (Arc::clone(queue), RandomIdGenerator::default(), FlushTimes::default());
        Self(Some(Arc::new(Shared { queue, sampler, ids, flushes })))
    }

    /// Whether any trace can be sampled.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Decides whether to sample a request. `traceparent`: header of the client, whose decision takes precedence.
    pub fn start_request(&self, traceparent: Option<&str>) -> Option<SampledRequest> {
        let shared = self.0.as_ref()?;
        let (trace, parent) = match traceparent {
            Some(given) => {
                let given = TraceContext::sampled(given)?;
                (given.trace, Some(given.span))
            }
            None => {
                let trace = shared.ids.new_trace_id();
                let sampled = shared.sampler.should_sample(None, trace, "", &SpanKind::Server, &[], &[]);
                (sampled.decision == SamplingDecision::RecordAndSample).then_some((trace, None))?
            }
        };
        let context = TraceContext { trace, span: shared.ids.new_span_id() };
        Some(SampledRequest { context, parent, started_at: SystemTime::now() })
    }

    /// The span that a record or message belongs to, if its trace is sampled.
    pub fn sampled_parent(&self, traceparent: Option<&str>) -> Option<TraceContext> {
        self.0.as_ref()?;
        TraceContext::sampled(traceparent?)
    }

    /// Creates the context of a new span in the same trace.
    pub fn child_of(&self, parent: TraceContext) -> TraceContext {
        // Without a queue no trace is sampled, and this is never called.
        let span = self.0.as_ref().map_or(parent.span, |shared| shared.ids.new_span_id());
        TraceContext { span, ..parent }
    }

    /// Records a span. Never blocks: if the queue is full, the span is dropped and counted.
    pub fn record(&self, span: Span) {
        if let Some(shared) = &self.0 {
            shared.queue.add(span);
        }
    }

    /// Records the flush time of a group that contains records of sampled requests.
    pub fn record_flush(&self, records: Range<Lsn>, at: SystemTime) {
        if let Some(shared) = &self.0 {
            shared.flushes.record(records, at);
        }
    }

    /// Flush time of a record. `None` after a restart, and for old records.
    pub fn flushed_at(&self, lsn: Lsn) -> Option<SystemTime> {
        self.0.as_ref()?.flushes.flushed_at(lsn)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;

    fn tracer(ratio: f64) -> Tracer {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        Tracer::new(&Arc::new(SpanQueue::new(&dropped)), SampleRatio(ratio))
    }

    #[test]
    fn a_client_decides_and_the_ratio_only_without_one() {
        let of = |flags: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        for ratio in [0.0, 1.0] {
            let tracer = tracer(ratio);
            let entered = tracer.start_request(Some(&of("01"))).unwrap();
            assert_eq!(entered.context.to_string()[..36], of("01")[..36], "the same trace");
            assert_ne!(entered.context.to_string(), of("01"), "a span of its own");
            assert_eq!(entered.parent, Some(TraceContext::sampled(&of("01")).unwrap().span));
            assert!(tracer.start_request(Some(&of("00"))).is_none());
            assert!(tracer.start_request(Some("nonsense")).is_none());
            assert_eq!(tracer.start_request(None).is_some(), ratio == 1.0);
        }
        let sampled = (0..10_000).filter(|_| tracer(0.05).start_request(None).is_some()).count();
        // Ten standard deviations around 500.
        assert!((280..720).contains(&sampled), "{sampled}");
    }

    #[test]
    fn without_an_endpoint_nothing_is_sampled_and_nothing_continued() {
        let (off, sampled) = (Tracer::default(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(off.start_request(Some(sampled)).is_none() && off.start_request(None).is_none());
        assert_eq!(off.sampled_parent(Some(sampled)), None);
        assert!(tracer(0.0).sampled_parent(Some(sampled)).is_some());
        assert_eq!(tracer(1.0).sampled_parent(None), None, "after the entry no trace begins");
    }
}
