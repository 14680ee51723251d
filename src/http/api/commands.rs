//! `POST /v1/commands/{kind}`: from bytes on a socket to a receipt.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntCounter;

use super::access::Authenticated;
use super::state::Api;
use super::{batch, receipt, status};
use crate::http::answer::Answer;
use crate::http::backend::CommandService;
use crate::http::headers::{Format, Prefer};
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::{headers, problem};
use crate::ingest::{Idempotency, Request, Submission};
use crate::kinds::Kind;

/// Kafka counts a batch's header (61 bytes), a record's lengths and deltas (at most 27), and for each of at most six
/// headers two lengths (at most 10).
const RECORD_OVERHEAD: usize = 61 + 27 + 6 * 10;
/// Names of all headers, and the values whose length never changes: command id (40), instant (24), content type.
const FIXED_HEADERS: usize = "forebay-command-id".len()
    + 40
    + "forebay-kind".len()
    + "forebay-accepted-at".len()
    + 24
    + "content-type".len()
    + super::state::JSON.len()
    + "traceparent".len()
    + "forebay-idempotency-key".len();

/// Accepts one command or a batch.
pub(super) async fn post<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: Authenticated,
) -> Result<Answer, Problem> {
    let caller = caller.caller();
    let catalogue = api.kinds.current();
    let Some(kind) = catalogue.kinds.get(request.parameter) else {
        return Err(Problem::new(&problem::UNKNOWN_KIND, "No kind of this name is configured."));
    };
    let headers = &request.head.headers;
    let format = Format::of(headers)?;
    let key = headers::idempotency_key(headers)?;
    let prefer = Prefer::of(headers);
    let trace = request.trace;
    let traceparent = trace.traceparent().map(str::to_owned);
    let name = caller.name();
    api.limited(name.as_deref(), request.client).await?;
    let limit = match format {
        Format::Single => api.max_body,
        Format::Batch => api.max_batch_body,
    };
    let client = request.client;
    let body = api.bodies.read(request.body, limit, request.conn).await?;

    let admission = Admission {
        kind: Arc::clone(kind),
        content_type: Arc::clone(&api.json),
        // What the headers of each record of this request take, whatever the record.
        headers_len: traceparent.as_ref().map_or(0, String::len) + key.as_ref().map_or(0, String::len),
        max_body: api.max_body,
        message_max: api.message_max,
        record_hit: api.record_hit.clone(),
    };
    let bytes = body.bytes.clone();
    let check = move || match format {
        Format::Single => Ok(vec![admission.admit(bytes)?]),
        Format::Batch => batch::lines(&bytes, |line| admission.admit(line)),
    };
    let commands = api.checks.run(body.bytes.len(), check).await?;
    api.limited_rest(name.as_deref(), client, commands.len()).await?;
    let idempotency = key.map(|key| Idempotency { key, body: body.bytes.clone(), route: None });
    let request = Request { commands, traceparent, idempotency, principal: caller.owner() };
    let receipt = api.commands.submit(request).await.map_err(|error| {
        let retry_after = api.commands.retry_after(&error);
        Problem::submit(&error, retry_after)
    })?;
    trace.about(&receipt.ids);
    // A wait may be long, and the log holds the body now.
    drop(body);
    if let Some(wait) = prefer.wait
        && let Some(statuses) = status::final_statuses(&api.commands, &receipt.ids, false, wait).await
    {
        return Ok(receipt::waited(&statuses, format, &receipt, prefer));
    }
    Ok(receipt::accepted(&receipt, format, prefer))
}

/// Decides which bodies of one request may enter.
struct Admission {
    kind: Arc<Kind>,
    content_type: Arc<str>,
    headers_len: usize,
    max_body: usize,
    message_max: usize,
    record_hit: IntCounter,
}

impl Admission {
    /// Checks one command. Its size comes first: parsed, a document takes about 20 times the memory of its text.
    fn admit(&self, value: Bytes) -> Result<Submission, Problem> {
        if value.len() > self.max_body {
            let detail = format!("A command may have at most {} bytes.", self.max_body);
            return Err(Problem::new(&problem::BODY_TOO_LARGE, detail));
        }
        self.check_record_size(&[], &value)?;
        let key = self.kind.admit(&value)?.key;
        if let Some(key) = &key {
            self.check_record_size(key, &value)?;
        }
        Ok(Submission {
            kind: Arc::clone(self.kind.name()),
            topic: Arc::clone(self.kind.topic()),
            key,
            content_type: Arc::clone(&self.content_type),
            claim: None,
            fingerprint: None,
            sealed: false,
            headers: Bytes::new(),
            no_value: false,
            value,
        })
    }

    fn check_record_size(&self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let size = record_size(self.kind.name(), key, value, self.headers_len);
        if size <= self.message_max {
            return Ok(());
        }
        self.record_hit.inc();
        let detail = format!("As a Kafka record this takes {size} bytes; at most {} pass.", self.message_max);
        Err(Problem::new(&problem::RECORD_TOO_LARGE, detail))
    }
}

/// The most bytes Kafka may count for a record that is sent alone.
fn record_size(kind: &str, key: &[u8], value: &[u8], headers_len: usize) -> usize {
    RECORD_OVERHEAD + FIXED_HEADERS + kind.len() + key.len() + value.len() + headers_len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandId, Envelope};
    use crate::units::Timestamp;

    #[test]
    fn the_size_at_the_door_covers_every_header_kafka_gets() {
        let (traceparent, key) = ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "abc");
        let id = CommandId::from_bytes([255; 25]);
        let envelope = Envelope {
            key: Some(b"o-1"),
            traceparent: Some(traceparent),
            idempotency_key: Some(key),
            ..Envelope::new(id, "order.create", "orders.v1", super::super::state::JSON, b"{}")
        };
        let headers = crate::command::headers(&envelope, Timestamp(u64::MAX));
        let sent: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert_eq!(headers.len(), 6);
        let counted = record_size(envelope.kind, b"o-1", envelope.value, traceparent.len() + key.len());
        assert_eq!(counted, RECORD_OVERHEAD + sent + 3 + 2);
    }
}
