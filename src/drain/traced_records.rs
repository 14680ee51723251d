//! Spans of sampled records: the time in the queue, and the time from sending to confirmation.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::command::{CommandId, Envelope};
use crate::drain::usage::MAX_IN_FLIGHT;
use crate::kafka::ErrorCode;
use crate::telemetry::trace::{Kind, Span, TraceContext, Tracer};
use crate::units::Timestamp;
use crate::wal::{Confirmation, Lsn, RecordRef};

/// Sampled records that one worker has in flight.
pub(super) struct TracedRecords {
    tracer: Tracer,
    sent: HashMap<Lsn, ProduceSpan>,
}

/// Span of one record in flight to Kafka.
pub(super) struct ProduceSpan {
    /// The span of the request.
    parent: TraceContext,
    /// The record's own span. Kafka's header refers consumers to it.
    context: TraceContext,
    started_at: SystemTime,
    id: CommandId,
    topic: String,
}

impl ProduceSpan {
    /// The value of Kafka's trace header.
    pub(super) fn traceparent_header(&self) -> String {
        self.context.to_string()
    }
}

impl TracedRecords {
    pub(super) fn new(tracer: &Tracer) -> Self {
        Self { tracer: tracer.clone(), sent: HashMap::new() }
    }

    /// Creates the span of a record that is about to be sent. Returns `None` if its trace is not sampled.
    pub(super) fn begin(&self, envelope: &Envelope<'_>) -> Option<ProduceSpan> {
        let parent = self.tracer.sampled_parent(envelope.traceparent)?;
        Some(ProduceSpan {
            parent,
            context: self.tracer.child_of(parent),
            started_at: SystemTime::now(),
            id: envelope.id,
            topic: envelope.topic.to_owned(),
        })
    }

    /// The record was sent for the first time since the start, so its time in the queue is over.
    pub(super) fn on_first_sent(&self, produce: &ProduceSpan, frame: RecordRef<'_>) {
        let since = self.tracer.flushed_at(frame.lsn).unwrap_or_else(|| instant(frame.at));
        let span = Span::child(self.tracer.child_of(produce.parent), produce.parent, "queue");
        self.tracer.record(span.lasted(since.min(produce.started_at), produce.started_at));
    }

    /// The record was sent.
    pub(super) fn on_sent(&mut self, lsn: Lsn, produce: ProduceSpan) {
        // Records of aborted transactions stay here until they are sent again.
        if self.sent.len() as u64 >= MAX_IN_FLIGHT.records {
            self.sent.clear();
        }
        if let Some(before) = self.sent.insert(lsn, produce) {
            self.tracer.record(span(before).failed("transaction_aborted"));
        }
    }

    /// These records are delivered.
    pub(super) fn on_confirmed(&mut self, confirmations: &[Confirmation]) {
        if self.sent.is_empty() {
            return;
        }
        for confirmation in confirmations {
            if let Some(produce) = self.sent.remove(&confirmation.lsn) {
                let span = span(produce)
                    .with("messaging.destination.partition.id", confirmation.partition.to_string())
                    .with("messaging.kafka.offset", confirmation.offset);
                self.tracer.record(span);
            }
        }
    }

    /// This record was returned.
    pub(super) fn on_returned(&mut self, lsn: Lsn, code: ErrorCode) {
        if let Some(produce) = self.sent.remove(&lsn) {
            self.tracer.record(span(produce).failed(format!("{code:?}")));
        }
    }
}

/// The finished span, which ends now.
fn span(produce: ProduceSpan) -> Span {
    let ProduceSpan { parent, context: own, started_at: began, id, topic } = produce;
    Span::child(own, parent, format!("produce {topic}"))
        .of_kind(Kind::Producer)
        .lasted(began, SystemTime::now())
        .with("messaging.system", "kafka")
        .with("messaging.operation.name", "produce")
        .with("messaging.operation.type", "send")
        .with("messaging.destination.name", topic)
        .with("messaging.message.id", id.to_string())
}

fn instant(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::testing::{captured, sampled};

    fn send(records: &mut TracedRecords, lsn: u64, traceparent: Option<&str>) -> Option<String> {
        let id = CommandId::from_bytes([0; 25]);
        let envelope =
            Envelope { traceparent, ..Envelope::new(id, "k", "orders.v1", "application/json", b"{}") };
        let produce = records.begin(&envelope)?;
        let header = produce.traceparent_header();
        records.on_sent(Lsn(lsn), produce);
        Some(header)
    }

    fn confirmation(lsn: u64) -> Confirmation {
        Confirmation { lsn: Lsn(lsn), bytes: 1, partition: 3, offset: 7, at: Timestamp(0) }
    }

    #[test]
    fn each_attempt_has_its_own_span_in_the_kafka_header() {
        let (tracer, spans) = captured(1.0);
        let mut records = TracedRecords::new(&tracer);
        let traceparent = sampled("a");
        let attempts: Vec<_> = (0..3)
            .map(|attempt| {
                let header = send(&mut records, 1, Some(&traceparent)).unwrap();
                if attempt == 0 {
                    records.on_returned(Lsn(1), ErrorCode::MessageTimedOut);
                }
                header
            })
            .collect();
        records.on_confirmed(&[confirmation(1), confirmation(2)]);
        records.on_confirmed(&[confirmation(1)]);
        let all = spans.take();
        let own: Vec<_> = all.iter().map(|span| span.span_context.span_id().to_string()).collect();
        let told: Vec<_> = attempts.iter().map(|header| header[36..52].to_owned()).collect();
        assert_eq!(own, told, "each exactly once");
        let error = |span: &opentelemetry_sdk::trace::SpanData| {
            let found = span.attributes.iter().find(|one| one.key.as_str() == "error.type");
            found.map(|one| one.value.to_string())
        };
        let errors: Vec<_> = all.iter().map(error).collect();
        // The second record was in an aborted transaction.
        let expected = [Some("MessageTimedOut"), Some("transaction_aborted"), None];
        assert_eq!(errors.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        assert!(all.iter().all(|span| span.parent_span_id.to_string() == "a".repeat(16)));
    }

    #[test]
    fn a_record_that_is_not_sampled_creates_no_span() {
        let (tracer, spans) = captured(1.0);
        let mut records = TracedRecords::new(&tracer);
        for traceparent in [None, Some(sampled("a").replace("-01", "-00"))] {
            assert_eq!(send(&mut records, 1, traceparent.as_deref()), None);
        }
        records.on_returned(Lsn(1), ErrorCode::MessageTimedOut);
        records.on_confirmed(&[confirmation(1)]);
        assert_eq!((records.sent.len(), spans.take().len()), (0, 0));
    }
}
