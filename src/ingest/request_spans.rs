//! Trace spans of sampled requests: the wait for the commit thread, and the flush.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use crate::telemetry::trace::{Span, TraceContext, Tracer};
use crate::wal::Lsn;

/// A sampled request in the commit queue.
#[derive(Clone, Copy)]
pub(super) struct TracedRequest {
    parent: TraceContext,
    queued_at: SystemTime,
}

impl TracedRequest {
    /// Starts the trace of a request that is queued now; `None` if it is not sampled.
    pub(super) fn begin(tracer: &Tracer, traceparent: Option<&str>) -> Option<Box<Self>> {
        let parent = tracer.sampled_parent(traceparent)?;
        Some(Box::new(Self { parent, queued_at: SystemTime::now() }))
    }
}

/// The sampled requests of the current group.
pub(super) struct TracedGroup {
    tracer: Tracer,
    requests: Vec<TracedRequest>,
    /// From the first record of the first request to the end of the last request.
    records: Option<Range<Lsn>>,
    flush: Option<FlushSpan>,
}

/// The flush of a group with sampled requests.
#[derive(Clone, Copy)]
struct FlushSpan {
    started_at: SystemTime,
    ended_at: SystemTime,
    /// Records of the whole group.
    records: u64,
}

impl TracedGroup {
    /// An empty group that reports to `tracer`.
    pub(super) fn new(tracer: &Tracer) -> Self {
        Self { tracer: tracer.clone(), requests: Vec::new(), records: None, flush: None }
    }

    /// Adds an appended request with its records.
    pub(super) fn add(&mut self, request: Option<Box<TracedRequest>>, records: Range<Lsn>) {
        let Some(request) = request else { return };
        self.requests.push(*request);
        let start = self.records.take().map_or(records.start, |group| group.start);
        self.records = Some(start..records.end);
    }

    /// Records the start of the flush, with its record counts by topic.
    pub(super) fn on_flush_started(&mut self, topics: &[(Arc<str>, u64)]) {
        if !self.requests.is_empty() {
            let (now, records) = (SystemTime::now(), topics.iter().map(|(_, records)| records).sum());
            self.flush = Some(FlushSpan { started_at: now, ended_at: now, records });
        }
    }

    /// Records the end of the flush. Called before the replies, because the records may be sent at once.
    pub(super) fn on_flush_ended(&mut self) {
        if let (Some(flush), Some(records)) = (&mut self.flush, self.records.take()) {
            flush.ended_at = SystemTime::now();
            self.tracer.record_flush(records, flush.ended_at);
        }
    }

    /// Reports the spans of all requests and clears the group. The flush spans have the same times; each but the first
    /// is linked to the first.
    pub(super) fn report(&mut self, flushed: bool) {
        let Some(FlushSpan { started_at: began, ended_at: ended, records }) = self.flush.take() else {
            return;
        };
        let (mut first, records) = (None, i64::try_from(records).unwrap_or(i64::MAX));
        for TracedRequest { parent, queued_at: queued } in self.requests.drain(..) {
            let wait = Span::child(self.tracer.child_of(parent), parent, "commit wait");
            self.tracer.record(wait.lasted(queued, began));
            let own = self.tracer.child_of(parent);
            let span = Span::child(own, parent, "flush").lasted(began, ended).linked(first);
            let span = span.with("forebay.flush.records", records);
            self.tracer.record(if flushed { span } else { span.failed("flush_failed") });
            first.get_or_insert(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::testing::{captured, sampled};

    #[test]
    fn each_request_has_a_flush_span_linked_to_the_first() {
        let (tracer, spans) = captured(0.0);
        let mut group = TracedGroup::new(&tracer);
        let requests = [Some(sampled("a")), None, Some(sampled("b"))];
        for (n, traceparent) in (1..).zip(&requests) {
            group.add(TracedRequest::begin(&tracer, traceparent.as_deref()), Lsn(n)..Lsn(n + 1));
        }
        group.on_flush_started(&[("t".into(), 4), ("u".into(), 1)]);
        group.on_flush_ended();
        let known = [Lsn(0), Lsn(1), Lsn(3), Lsn(4)].map(|lsn| tracer.flushed_at(lsn).is_some());
        assert_eq!(known, [false, true, true, false]);
        group.report(true);
        let all = spans.take();
        let names: Vec<_> = all.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["commit wait", "flush", "commit wait", "flush"]);
        let (first, second) = (&all[1], &all[3]);
        assert_eq!((first.start_time, first.end_time), (second.start_time, second.end_time));
        assert_eq!(tracer.flushed_at(Lsn(3)), Some(first.end_time));
        assert_eq!(all[0].end_time, first.start_time);
        assert_ne!(first.span_context.trace_id(), second.span_context.trace_id());
        assert_eq!(first.links.len(), 0);
        assert_eq!(second.links[0].span_context.span_id(), first.span_context.span_id());
        let records = first.attributes.iter().find(|one| one.key.as_str() == "forebay.flush.records");
        assert_eq!(records.map(|one| one.value.to_string()).as_deref(), Some("5"));
        // No span is reported twice, and none for a group without samples.
        group.add(None, Lsn(4)..Lsn(5));
        group.on_flush_started(&[("t".into(), 1)]);
        group.on_flush_ended();
        group.report(true);
        assert_eq!(spans.take().len(), 0);
    }
}
