//! Trace spans of sampled commands: their application, and their shared transaction.

use std::time::SystemTime;

use super::apply::CommittedBatch;
use super::pending_batch::PendingBatch;
use crate::kafka::Record;
use crate::telemetry::trace::{Kind, Span, TraceContext, Tracer};

const TRACEPARENT: &str = "traceparent";

/// Reports the spans of all sampled commands of a committed batch. `system`: the database's name in OpenTelemetry's
/// conventions.
pub(super) fn report(
    tracer: &Tracer,
    system: &'static str,
    group: &str,
    batch: &PendingBatch,
    done: &CommittedBatch,
) {
    if !tracer.is_on() {
        return;
    }
    let now = SystemTime::now();
    let mut first = None;
    let sides = batch.records.iter().zip(&batch.commands).zip(&done.outcomes);
    for ((record, command), outcome) in sides {
        let Some(parent) = tracer.sampled_parent(record.header(TRACEPARENT)) else { continue };
        let apply = tracer.child_of(parent);
        let span = apply_span(apply, parent, record).lasted(command.received, now);
        let span = span
            .with("messaging.message.id", command.id.clone())
            .with("messaging.consumer.group.name", group.to_owned())
            .with("forebay.outcome", outcome.label());
        tracer.record(span);
        let own = tracer.child_of(apply);
        let transaction = Span::child(own, apply, "transaction")
            .of_kind(Kind::Client)
            .lasted(done.started_at, done.started_at + done.elapsed)
            .linked(first)
            .with("db.system.name", system)
            .with("db.operation.batch.size", i64::try_from(done.outcomes.len()).unwrap_or(i64::MAX));
        tracer.record(transaction);
        first.get_or_insert(own);
    }
}

fn apply_span(own: TraceContext, parent: TraceContext, record: &Record) -> Span {
    Span::child(own, parent, format!("apply {}", record.topic))
        .of_kind(Kind::Consumer)
        .with("messaging.system", "kafka")
        .with("messaging.operation.name", "apply")
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", record.topic.to_string())
        .with("messaging.destination.partition.id", record.partition.to_string())
        .with("messaging.kafka.offset", record.offset)
}
