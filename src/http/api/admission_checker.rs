//! Decides whether a command is accepted, and creates its entry for the log.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntCounter;

use super::state::{Api, JSON};
use crate::command::Headers;
use crate::http::problem;
use crate::http::problem::Problem;
use crate::ingest::Submission;
use crate::kinds::{Kind, Kinds};

/// Bytes that Kafka adds to a record: the header of its batch (61), and the record's lengths and deltas (at most 27).
const RECORD_OVERHEAD: usize = 61 + 27;
/// Number of headers that every record may have.
const HEADERS: usize = 6;
/// Maximum bytes of the two lengths of a header.
const HEADER_OVERHEAD: usize = 10;
/// Bytes of the names of these headers and of the values with a fixed length: command id (40), time (24).
const FIXED_HEADERS: usize = "forebay-command-id".len()
    + 40
    + "forebay-kind".len()
    + "forebay-accepted-at".len()
    + 24
    + "content-type".len()
    + "traceparent".len()
    + "forebay-idempotency-key".len();

/// The kind with this name. Error: no such kind.
pub(super) fn kind<'a>(kinds: &'a Kinds, name: &str) -> Result<&'a Arc<Kind>, Problem> {
    let unknown = || {
        let detail = if name.starts_with("user.") {
            "Names that begin with `user.` are reserved. Register users with POST /v1/users."
        } else {
            "No kind with this name is configured. Names are case-sensitive. GET /openapi.json lists the kinds."
        };
        Problem::new(&problem::UNKNOWN_KIND, detail)
    };
    kinds.get(name).ok_or_else(unknown)
}

/// Checks the commands of one request.
pub(super) struct AdmissionChecker {
    pub(super) kind: Arc<Kind>,
    json: Arc<str>,
    /// Bytes of the headers that depend on the request only. Each record of the request has them.
    headers_len: usize,
    max_body: usize,
    message_max: usize,
    /// Counts records that are too large.
    record_hit: Option<IntCounter>,
}

/// The parts of a command that are sent to Kafka.
pub(super) struct KafkaRecord {
    pub(super) key: Option<Bytes>,
    pub(super) content_type: Arc<str>,
    /// Headers in the format of [`Headers::encode`].
    pub(super) headers: Bytes,
    /// Bytes of headers that depend on the record but are not in `headers`.
    pub(super) more_len: usize,
    pub(super) value: Option<Bytes>,
}

impl KafkaRecord {
    fn new(key: Option<Bytes>, content_type: Arc<str>, value: Bytes) -> Self {
        Self { key, content_type, headers: Bytes::new(), more_len: 0, value: Some(value) }
    }
}

impl AdmissionChecker {
    pub(super) fn new<C>(api: &Api<C>, kind: &Arc<Kind>, headers_len: usize) -> Self {
        Self {
            kind: Arc::clone(kind),
            json: Arc::clone(&api.json),
            headers_len,
            max_body: api.max_body,
            message_max: api.message_max,
            record_hit: Some(api.record_hit.clone()),
        }
    }

    /// A checker for `check-config --body`, where no request exists.
    pub(super) fn for_dry_run(kind: &Arc<Kind>, max_body: usize, message_max: usize) -> Self {
        let (kind, json) = (Arc::clone(kind), Arc::from(JSON));
        Self { kind, json, headers_len: 0, max_body, message_max, record_hit: None }
    }

    /// Checks one JSON command. `content_type` is the media type for Kafka (default: `application/json`). `key` is the
    /// key of the request, if it has one.
    ///
    /// The size is checked first, because a parsed document takes about 20 times the memory of its text.
    pub(super) fn json(
        &self,
        value: Bytes,
        content_type: Option<&Arc<str>>,
        key: Option<&Bytes>,
    ) -> Result<Submission, Problem> {
        self.check_size(value.len())?;
        let content_type = Arc::clone(content_type.unwrap_or(&self.json));
        let mut record = KafkaRecord::new(key.cloned(), content_type, value.clone());
        self.check_record(&record)?;
        if let Some(key) = self.kind.admit(&value)?.key {
            record.key = Some(key);
        }
        self.submission(record)
    }

    /// Checks one command with opaque bytes.
    pub(super) fn opaque(
        &self,
        value: Bytes,
        content_type: Arc<str>,
        key: Option<Bytes>,
    ) -> Result<Submission, Problem> {
        self.check_size(value.len())?;
        self.submission(KafkaRecord::new(key, content_type, value))
    }

    /// Checks the size of a command, in bytes.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Problem> {
        if bytes <= self.max_body {
            return Ok(());
        }
        let detail = format!("A command may have at most {} bytes.", self.max_body);
        Err(Problem::new(&problem::BODY_TOO_LARGE, detail))
    }

    /// Creates the entry for the log. Error: the record is too large for Kafka.
    pub(super) fn submission(&self, record: KafkaRecord) -> Result<Submission, Problem> {
        self.check_record(&record)?;
        Ok(Submission {
            kind: Arc::clone(self.kind.name()),
            topic: Arc::clone(self.kind.topic()),
            key: record.key,
            content_type: record.content_type,
            headers: record.headers,
            claim: None,
            fingerprint: None,
            sealed: false,
            no_value: record.value.is_none(),
            value: record.value.unwrap_or_default(),
        })
    }

    fn check_record(&self, record: &KafkaRecord) -> Result<(), Problem> {
        let size = record_size(self.kind.name(), record, self.headers_len);
        if size <= self.message_max {
            return Ok(());
        }
        self.record_hit.iter().for_each(IntCounter::inc);
        let detail = format!("The Kafka record would have {size} bytes; the limit is {}.", self.message_max);
        Err(Problem::new(&problem::RECORD_TOO_LARGE, detail))
    }
}

/// Maximum size in bytes that Kafka counts for the record of a command, without the headers that depend on its request.
pub(super) fn max_record_size(submission: &Submission) -> usize {
    let record = KafkaRecord {
        key: submission.key.clone(),
        content_type: Arc::clone(&submission.content_type),
        headers: submission.headers.clone(),
        more_len: 0,
        value: Some(submission.value.clone()),
    };
    record_size(&submission.kind, &record, 0)
}

/// Maximum size in bytes that Kafka counts for a record that is sent alone.
fn record_size(kind: &str, record: &KafkaRecord, headers_len: usize) -> usize {
    let own = Headers::parse(&record.headers).unwrap_or_default();
    let own: usize = own.iter().map(|(name, value)| HEADER_OVERHEAD + name.len() + value.len()).sum();
    let key = record.key.as_ref().map_or(0, Bytes::len);
    let value = record.value.as_ref().map_or(0, Bytes::len);
    let fixed = RECORD_OVERHEAD + HEADERS * HEADER_OVERHEAD + FIXED_HEADERS;
    // At least the length of the usual content type, so that the limit for the lines of a batch does not depend on it.
    let content_type = record.content_type.len().max(JSON.len());
    fixed + kind.len() + key + value + content_type + headers_len + record.more_len + own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandId, Envelope};
    use crate::units::Timestamp;

    #[test]
    fn checked_size_includes_every_header_sent_to_kafka() {
        let (traceparent, key) = ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "abc");
        let id = CommandId::from_bytes([255; 25]);
        let content_type = "application/vnd.an.example+avro; schema=5";
        let own = Headers::encode([("ce_id", "1"), ("ce_source", "/größe")]);
        let envelope = Envelope {
            key: Some(b"o-1"),
            traceparent: Some(traceparent),
            idempotency_key: Some(key),
            headers: Headers::parse(&own).unwrap(),
            ..Envelope::new(id, "order.create", "orders.v1", content_type, b"{}")
        };
        let headers = crate::command::headers(&envelope, Timestamp(u64::MAX));
        let sent: usize =
            headers.iter().map(|(name, value)| HEADER_OVERHEAD + name.len() + value.len()).sum();
        assert_eq!(headers.len(), HEADERS + 2);
        let record = KafkaRecord {
            key: Some(Bytes::from_static(b"o-1")),
            content_type: content_type.into(),
            headers: own.clone().into(),
            more_len: 0,
            value: Some(Bytes::from_static(b"{}")),
        };
        let counted = record_size(envelope.kind, &record, traceparent.len() + key.len());
        assert_eq!(counted, RECORD_OVERHEAD + sent + 3 + 2);
    }
}
