//! Reads CloudEvents from HTTP requests, in the three content modes of the protocol binding.

use bytes::Bytes;
use hyper::HeaderMap;

use super::admission_checker::{AdmissionChecker, KafkaRecord};
use super::batch::BatchErrors;
use super::parsed_body::ParsedBody;
use super::unsupported_media_type::refusal;
use crate::cloudevents;
use crate::cloudevents::{
    AttributeError, Event, EventBuilder, EventError, IdempotencyDigest, KEY_LEN, MAX_EVENTS, RenderedEvent,
};
use crate::command::is_json;
use crate::http::headers;
use crate::http::media_type::{MediaType, unsupported};
use crate::http::problem;
use crate::http::problem::{ErrorDetail, Problem};
use crate::ingest::Submission;
use crate::kinds::{CloudEvents, Content, EVENTS, JSON, Kind, MAX_KEY_BYTES, UNKNOWN};

/// The attribute with the key of the record.
const KEY: &str = "partitionkey";
/// Media types of the supported event formats.
const STRUCTURED_TYPE: &str = "application/cloudevents+json";
const BATCH_TYPE: &str = "application/cloudevents-batch+json";

/// A content mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The attributes are in headers, the data is the body.
    Binary,
    /// The body is one JSON document.
    Structured,
    /// The body is an array of JSON documents.
    Batch,
}

/// Reads the events of one request.
pub(super) struct EventReader {
    mode: Mode,
    /// The attributes in the headers, in binary mode.
    builder: EventBuilder,
}

/// An event and its source text.
struct ParsedEvent {
    event: Event,
    /// The received document. `None` in binary mode.
    document: Option<Bytes>,
}

impl EventReader {
    /// Determines the mode and reads the attributes in the headers. Error: the kind does not accept the media type.
    pub(super) fn of(
        kind: &Kind,
        media_type: Option<&MediaType<'_>>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let mode = match media_type.map(|media_type| &*media_type.essence) {
            Some(STRUCTURED_TYPE) => Mode::Structured,
            Some(BATCH_TYPE) => Mode::Batch,
            Some(format) if format.starts_with(EVENTS) => return Err(refusal(kind, Some(format))),
            _ => Mode::Binary,
        };
        if mode != Mode::Binary {
            let is_utf8 = media_type.is_some_and(|media_type| media_type.is_utf8);
            let events = Self { mode, builder: EventBuilder::default() };
            return is_utf8.then_some(events).ok_or_else(|| unsupported("Send events in UTF-8."));
        }
        let content_type = media_type.map(|media_type| match &*media_type.essence {
            // curl's default.
            "application/x-www-form-urlencoded" if kind.accepts_json() => JSON,
            _ => media_type.text,
        });
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Ok(Self { mode, builder: cloudevents::from_headers(pairs, content_type) })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Checks the events in a body and returns their commands.
    pub(super) fn read_commands(
        self,
        body: &Bytes,
        admission: &AdmissionChecker,
    ) -> Result<ParsedBody, Problem> {
        let mut identity = IdempotencyDigest::default();
        let (commands, traceparent) = match self.mode {
            Mode::Batch => (batch(body, admission, &mut identity)?, None),
            Mode::Binary | Mode::Structured => {
                let found = self.read_one(body, admission)?;
                identity.add(&found.event);
                let traceparent = traceparent(&found.event).map(str::to_owned);
                (vec![submission(found, admission)?], traceparent)
            }
        };
        let (event_key, key_scope) = identity.finish();
        Ok(ParsedBody { commands, event_key: Some(event_key), key_scope: Some(key_scope), traceparent })
    }

    fn read_one(self, body: &Bytes, admission: &AdmissionChecker) -> Result<ParsedEvent, Problem> {
        admission.check_size(body.len())?;
        if self.mode == Mode::Structured {
            let event = cloudevents::from_json(body).map_err(|error| problem_of(error, "/"))?;
            return Ok(ParsedEvent { event, document: Some(body.clone()) });
        }
        let content_type = self.builder.get("datacontenttype");
        // An empty body is not JSON: the event then has no data.
        let has_data = !body.is_empty() || content_type.is_some_and(|name| !is_json(name));
        let is_json = admission.kind.content(None) == Some(Content::Json);
        let event = self.builder.finish(has_data.then(|| body.clone()), is_json);
        Ok(ParsedEvent {
            event: event.map_err(|error| problem_of(error, cloudevents::PREFIX))?,
            document: None,
        })
    }
}

/// Reads the events of a batch. All are accepted, or none.
fn batch(
    body: &Bytes,
    admission: &AdmissionChecker,
    identity: &mut IdempotencyDigest,
) -> Result<Vec<Submission>, Problem> {
    let documents = cloudevents::batch(body).map_err(|error| problem_of(error, "/"))?;
    let mut admitted = Vec::with_capacity(documents.len());
    let mut refusals = BatchErrors::default();
    for (index, document) in documents.into_iter().enumerate() {
        let read = admission.check_size(document.len()).and_then(|()| {
            let event = cloudevents::from_json(&document).map_err(|error| problem_of(error, "/"))?;
            identity.add(&event);
            submission(ParsedEvent { event, document: Some(document) }, admission)
        });
        match read {
            Ok(command) => admitted.push(command),
            Err(problem) => refusals.add(&problem, |place| place.below(&format!("/{index}"))),
        }
        if refusals.is_full() {
            break;
        }
    }
    refusals.into_result(admitted)
}

/// Creates the log entry of an event.
fn submission(found: ParsedEvent, admission: &AdmissionChecker) -> Result<Submission, Problem> {
    let ParsedEvent { event, document } = found;
    let kind = &admission.kind;
    let pointer = if document.is_some() { "/data" } else { "" };
    let key = match content(&event, kind, document.is_some())? {
        Some(Content::Opaque) => None,
        Some(Content::Json) | None => {
            let admitted = kind.admit_data(event.data());
            admitted.map_err(|rejection| Problem::from(rejection).below(pointer))?.key
        }
    };
    let key = match key {
        Some(key) => Some(key),
        None => event.get(KEY).map(|key| partition_key(key, document.is_some())).transpose()?,
    };
    let more_len = KEY_LEN + traceparent(&event).map_or(0, str::len);
    let RenderedEvent { content_type, headers, value } = match kind.cloudevents() {
        CloudEvents::Structured => cloudevents::structured(&event, document),
        CloudEvents::Binary | CloudEvents::Off => cloudevents::binary(&event),
    };
    let headers = Bytes::from(headers);
    admission.submission(KafkaRecord { key, content_type: content_type.into(), headers, more_len, value })
}

/// How the data is read. `None` if the event has no data.
fn content(event: &Event, kind: &Kind, is_document: bool) -> Result<Option<Content>, Problem> {
    let media_type = match event.get("datacontenttype").map(MediaType::parse) {
        // Only in documents: in binary mode, `Content-Type` was already parsed.
        Some(None) => return Err(invalid("datacontenttype", "must be a media type", is_document)),
        Some(known) => known,
        None => None,
    };
    if event.data().is_none() {
        return Ok(None);
    }
    let essence = media_type.as_ref().map(|media_type| &*media_type.essence);
    let content = match essence {
        Some(_) => kind.content(essence),
        // Data in base64 without a media type is opaque if the kind accepts opaque bytes.
        None => kind.content(Some(UNKNOWN)).or_else(|| kind.content(None)),
    };
    match (content, &media_type) {
        (Some(Content::Json), Some(MediaType { is_utf8: false, .. })) | (None, _) => {
            let refusal = refusal(kind, essence);
            Err(if is_document { refusal.field("/datacontenttype") } else { refusal })
        }
        (content, _) => Ok(content),
    }
}

fn partition_key(key: &str, is_document: bool) -> Result<Bytes, Problem> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(Bytes::copy_from_slice(key.as_bytes())),
        _ => Err(invalid(KEY, "must have 1 to 1024 bytes, because it is the command's key", is_document)),
    }
}

fn invalid(attribute: &str, detail: &'static str, is_document: bool) -> Problem {
    let at = if is_document { "/" } else { cloudevents::PREFIX };
    problem_of(EventError::Invalid([AttributeError::new(attribute, detail)].into_iter().collect()), at)
}

/// The trace context of an event (distributed tracing extension), if it is valid.
fn traceparent(event: &Event) -> Option<&str> {
    event.get("traceparent").filter(|value| headers::is_traceparent(value))
}

/// The problem for an event error. `before` is the prefix of attribute names: `/` in a document, `ce-` in headers.
fn problem_of(error: EventError, before: &str) -> Problem {
    let errors = match error {
        EventError::Unreadable(rejection) => return rejection.into(),
        EventError::TooMany => {
            let detail = format!("A batch may have at most {MAX_EVENTS} events.");
            return Problem::new(&problem::TOO_MANY_LINES, detail);
        }
        EventError::Invalid(errors) => errors,
    };
    let mut problem = Problem::new(
        &problem::INVALID_EVENT,
        "This kind accepts CloudEvents only, and the event is not valid. See `errors`.",
    );
    problem.field = errors.first().map(|error| format!("{before}{}", error.attribute).into());
    let place = |error: &AttributeError| {
        if before == "/" {
            let pointer = format!("/{}", error.attribute);
            return ErrorDetail::new(pointer, format!("{} {}", error.attribute, error.detail));
        }
        // A header has no pointer into the body, so the detail names it.
        ErrorDetail::new("", format!("{before}{} {}", error.attribute, error.detail))
    };
    problem.errors = errors.iter().map(place).collect();
    problem
}
