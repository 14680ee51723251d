//! CloudEvents over HTTP, in the three content modes of the protocol binding.

use bytes::Bytes;
use hyper::HeaderMap;

use super::admission::{Admission, Record};
use super::batch::Refusals;
use super::taken::Taken;
use super::wrong_type::refusal;
use crate::cloudevents;
use crate::cloudevents::{Draft, Event, EventError, Fault, Identity, KEY_LEN, MAX_EVENTS, Rendered};
use crate::command::is_json;
use crate::http::headers;
use crate::http::media_type::{MediaType, unsupported};
use crate::http::problem;
use crate::http::problem::{Place, Problem};
use crate::ingest::Submission;
use crate::kinds::{CloudEvents, Content, EVENTS, JSON, Kind, MAX_KEY_BYTES, UNKNOWN};

/// The attribute that is the key of an event's record.
const KEY: &str = "partitionkey";
/// The media types of the formats that are read.
const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// A content mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Attributes in headers, the data as the body.
    Binary,
    /// One document.
    Structured,
    /// An array of documents.
    Batch,
}

/// How the events of a request are read.
pub(super) struct Events {
    mode: Mode,
    /// What the headers say of an event in binary mode.
    draft: Draft,
}

/// One event, and where it stands.
struct Found {
    event: Event,
    /// As it came, in a mode that has documents.
    document: Option<Bytes>,
}

impl Events {
    /// The mode, and what the headers say; or why the kind does not take it.
    pub(super) fn of(
        kind: &Kind,
        media_type: Option<&MediaType<'_>>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let mode = match media_type.map(|media_type| &*media_type.essence) {
            Some(ONE) => Mode::Structured,
            Some(BATCH) => Mode::Batch,
            Some(format) if format.starts_with(EVENTS) => return Err(refusal(kind, Some(format))),
            _ => Mode::Binary,
        };
        if mode != Mode::Binary {
            let is_utf8 = media_type.is_some_and(|media_type| media_type.is_utf8);
            let events = Self { mode, draft: Draft::default() };
            return is_utf8.then_some(events).ok_or_else(|| unsupported("Send events in UTF-8."));
        }
        let content_type = media_type.map(|media_type| match &*media_type.essence {
            // What curl sends unasked.
            "application/x-www-form-urlencoded" if kind.takes_json() => JSON,
            _ => media_type.text,
        });
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Ok(Self { mode, draft: cloudevents::from_headers(pairs, content_type) })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Checks the events in a body, and returns their commands.
    pub(super) fn take(self, body: &Bytes, admission: &Admission) -> Result<Taken, Problem> {
        let mut identity = Identity::default();
        let (commands, traceparent) = match self.mode {
            Mode::Batch => (batch(body, admission, &mut identity)?, None),
            Mode::Binary | Mode::Structured => {
                let found = self.one(body, admission)?;
                identity.add(&found.event);
                let traceparent = traceparent(&found.event).map(str::to_owned);
                (vec![submission(found, admission)?], traceparent)
            }
        };
        let (own_key, bound_to) = identity.finish();
        Ok(Taken { commands, own_key: Some(own_key), bound_to: Some(bound_to), traceparent })
    }

    fn one(self, body: &Bytes, admission: &Admission) -> Result<Found, Problem> {
        admission.check_size(body.len())?;
        if self.mode == Mode::Structured {
            let event = cloudevents::from_json(body).map_err(|error| problem_of(error, "/"))?;
            return Ok(Found { event, document: Some(body.clone()) });
        }
        let content_type = self.draft.get("datacontenttype");
        // Nothing is no JSON.
        let has_data = !body.is_empty() || content_type.is_some_and(|name| !is_json(name));
        let is_json = admission.kind.content(None) == Some(Content::Json);
        let event = self.draft.finish(has_data.then(|| body.clone()), is_json);
        Ok(Found { event: event.map_err(|error| problem_of(error, cloudevents::PREFIX))?, document: None })
    }
}

/// The events of a batch: all, or none.
fn batch(body: &Bytes, admission: &Admission, identity: &mut Identity) -> Result<Vec<Submission>, Problem> {
    let documents = cloudevents::batch(body).map_err(|error| problem_of(error, "/"))?;
    let mut admitted = Vec::with_capacity(documents.len());
    let mut refusals = Refusals::default();
    for (index, document) in documents.into_iter().enumerate() {
        let read = admission.check_size(document.len()).and_then(|()| {
            let event = cloudevents::from_json(&document).map_err(|error| problem_of(error, "/"))?;
            identity.add(&event);
            submission(Found { event, document: Some(document) }, admission)
        });
        match read {
            Ok(command) => admitted.push(command),
            Err(problem) => refusals.add(&problem, |place| place.below(&format!("/{index}"))),
        }
        if refusals.is_full() {
            break;
        }
    }
    refusals.or(admitted)
}

/// What the log gets of an event.
fn submission(found: Found, admission: &Admission) -> Result<Submission, Problem> {
    let Found { event, document } = found;
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
    let Rendered { content_type, headers, value } = match kind.cloudevents() {
        CloudEvents::Structured => cloudevents::structured(&event, document),
        CloudEvents::Binary | CloudEvents::Off => cloudevents::binary(&event),
    };
    let headers = Bytes::from(headers);
    admission.submission(Record { key, content_type: content_type.into(), headers, more_len, value })
}

/// What the data is read as, if there is any.
fn content(event: &Event, kind: &Kind, is_document: bool) -> Result<Option<Content>, Problem> {
    let media_type = match event.get("datacontenttype").map(MediaType::parse) {
        // `Content-Type` has been read as one.
        Some(None) => return Err(invalid("datacontenttype", "it is not a media type", is_document)),
        Some(known) => known,
        None => None,
    };
    if event.data().is_none() {
        return Ok(None);
    }
    let essence = media_type.as_ref().map(|media_type| &*media_type.essence);
    let content = match essence {
        Some(_) => kind.content(essence),
        // Data in base64: bytes, where the kind takes any.
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
        _ => Err(invalid(KEY, "it must have 1 to 1024 bytes: it is the command's key", is_document)),
    }
}

fn invalid(attribute: &str, detail: &'static str, is_document: bool) -> Problem {
    let at = if is_document { "/" } else { cloudevents::PREFIX };
    problem_of(EventError::Invalid([Fault::new(attribute, detail)].into_iter().collect()), at)
}

/// The trace context of an event (distributed tracing extension), if it is valid.
fn traceparent(event: &Event) -> Option<&str> {
    event.get("traceparent").filter(|value| headers::is_traceparent(value))
}

/// `before`: what stands before an attribute's name where it is: `/` in a document, `ce-` in headers.
fn problem_of(error: EventError, before: &str) -> Problem {
    let faults = match error {
        EventError::Unreadable(rejection) => return rejection.into(),
        EventError::TooMany => {
            let detail = format!("A batch may contain at most {MAX_EVENTS} events.");
            return Problem::new(&problem::TOO_MANY_LINES, detail);
        }
        EventError::Invalid(faults) => faults,
    };
    let mut problem = Problem::new(&problem::INVALID_EVENT, "The event is not valid. See `errors`.");
    problem.field = faults.first().map(|fault| format!("{before}{}", fault.attribute).into());
    let place = |fault: &Fault| {
        let pointer = if before == "/" { format!("/{}", fault.attribute) } else { String::new() };
        Place::new(pointer, format!("{}: {}", fault.attribute, fault.detail))
    };
    problem.errors = faults.iter().map(place).collect();
    problem
}
