//! The format of a request body: JSON, opaque bytes or CloudEvents, with one command or a batch.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use sha2::{Digest, Sha256};

use super::admission_checker::AdmissionChecker;
use super::batch;
use super::event_reader::{EventReader, Mode};
use super::parsed_body::ParsedBody;
use super::unsupported_media_type::refusal;
use crate::http::headers;
use crate::http::media_type::{Format, MediaType};
use crate::http::problem::Problem;
use crate::kinds::{Content, Kind};

/// The format of a body.
pub(super) enum BodyFormat {
    /// JSON: one command, or one command per line. `content_type` is `None` for `application/json`.
    Json { format: Format, content_type: Option<Arc<str>>, key: Option<Bytes> },
    /// One command with opaque bytes.
    Opaque { content_type: Arc<str>, key: Option<Bytes> },
    /// CloudEvents.
    Events(EventReader),
}

impl BodyFormat {
    /// Determines the format from the headers. Error: the kind does not accept it.
    pub(super) fn from_headers(kind: &Kind, headers: &HeaderMap) -> Result<Self, Problem> {
        let media_type = MediaType::of(headers)?;
        if kind.accepts_events() {
            return Ok(Self::Events(EventReader::of(kind, media_type.as_ref(), headers)?));
        }
        let essence = media_type.as_ref().map(|media_type| &*media_type.essence);
        let key = || kind.key_header().map(|name| headers::record_key(headers, name)).transpose();
        if essence == Some("application/x-ndjson") && kind.accepts_json() {
            let format = Format::of(media_type.as_ref())?;
            return Ok(Self::Json { format, content_type: None, key: key()? });
        }
        match (kind.content(essence), &media_type) {
            (Some(Content::Json), Some(MediaType { is_utf8: false, .. })) => Err(refusal(kind, essence)),
            (Some(Content::Json), _) => Ok(Self::Json {
                format: Format::Single,
                content_type: media_type
                    .as_ref()
                    .filter(|_| !is_plain_json(essence))
                    .map(|one| one.text.into()),
                key: key()?,
            }),
            (Some(Content::Opaque), _) => {
                let text = media_type.as_ref().map_or("application/octet-stream", |one| one.text);
                Ok(Self::Opaque { content_type: text.into(), key: key()? })
            }
            (None, _) => Err(refusal(kind, essence)),
        }
    }

    /// Whether the body has one command or a batch.
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Json { format, .. } => *format,
            Self::Opaque { .. } => Format::Single,
            Self::Events(events) => match events.mode() {
                Mode::Batch => Format::Batch,
                Mode::Binary | Mode::Structured => Format::Single,
            },
        }
    }

    /// Checks the body and returns its commands.
    pub(super) fn read_commands(
        self,
        body: &Bytes,
        admission: &AdmissionChecker,
    ) -> Result<ParsedBody, Problem> {
        let (commands, key) = match self {
            Self::Json { format: Format::Single, content_type, key } => {
                (vec![admission.json(body.clone(), content_type.as_ref(), key.as_ref())?], key)
            }
            Self::Json { format: Format::Batch, key, .. } => {
                (batch::check_lines(body, |line| admission.json(line, None, key.as_ref()))?, key)
            }
            Self::Opaque { content_type, key } => {
                (vec![admission.opaque(body.clone(), content_type, key.clone())?], key)
            }
            Self::Events(events) => return events.read_commands(body, admission),
        };
        // The same body with a different key is a different command.
        let key_scope = key.map(|key| key_and_body_digest(&key, body));
        Ok(ParsedBody { commands, event_key: None, key_scope, traceparent: None })
    }
}

/// A digest that identifies a key and a body without a copy of the body.
fn key_and_body_digest(key: &[u8], body: &[u8]) -> Bytes {
    let length = (key.len() as u64).to_le_bytes();
    let digest = Sha256::new_with_prefix(length).chain_update(key).chain_update(body).finalize();
    Bytes::copy_from_slice(&digest)
}

/// Whether the content type of the Kafka record is `application/json`.
fn is_plain_json(essence: Option<&str>) -> bool {
    matches!(essence, Some("application/json" | "application/x-www-form-urlencoded"))
}
