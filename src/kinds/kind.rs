//! A kind of command. It decides whether a body is accepted, and finds the key.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::content_types::{Content, ContentTypes};
use super::events::CloudEvents;
use super::key::{Key, MAX_KEY_BYTES};
use super::pointer::{Pointer, PointerMatch};
use super::rejection::Rejection;
use super::schema::Schema;
use super::{example, nesting, strict};
use crate::bounded_errors::truncated;

/// JSON text that is sent over a network must not begin with this character (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Result for an accepted body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The Kafka key. A string is decoded; a number keeps its JSON text. `None` if the kind has no key in the body.
    pub key: Option<Bytes>,
}

/// One kind of command.
pub struct Kind {
    pub(super) name: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) key: Key,
    pub(super) schema: Option<Schema>,
    pub(super) content_types: ContentTypes,
    pub(super) cloudevents: CloudEvents,
}

impl Kind {
    /// The name of the kind.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The Kafka topic of the commands.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The configured JSON pointer to the key.
    pub fn key(&self) -> Option<&str> {
        match &self.key {
            Key::Pointer(pointer) => Some(pointer.as_str()),
            Key::None | Key::Header(_) => None,
        }
    }

    /// The JSON Schema as in its file.
    pub fn schema(&self) -> Option<&Value> {
        self.schema.as_ref().map(Schema::source)
    }

    /// An example of an accepted body. It is the first accepted entry of the schema's `examples`, else a generated body
    /// with the required members. For events, it is the data. `None` if neither is accepted, or if the kind accepts no
    /// JSON.
    pub fn example(&self) -> Option<Value> {
        let key = match &self.key {
            _ if !self.reads_json() => return None,
            Key::Pointer(pointer) => pointer.tokens(),
            Key::None | Key::Header(_) => Default::default(),
        };
        let anything = Value::Bool(true);
        let mut candidates = example::candidates(self.schema().unwrap_or(&anything), key);
        candidates.find(|body| {
            let body = Bytes::from(body.to_string());
            match self.cloudevents {
                CloudEvents::Off => self.admit(&body).is_ok(),
                CloudEvents::Binary | CloudEvents::Structured => self.admit_data(Some(&body)).is_ok(),
            }
        })
    }

    /// How a body with this media type is read. `None`: the kind does not accept it. `media_type` is in lower case,
    /// without parameters, and `None` if the client sent none.
    pub fn content(&self, media_type: Option<&str>) -> Option<Content> {
        self.content_types.content(media_type)
    }

    /// The accepted media types.
    pub fn content_types(&self) -> &[String] {
        self.content_types.names()
    }

    /// Whether the kind accepts `application/json`, and therefore batches with one command per line.
    pub fn accepts_json(&self) -> bool {
        self.content_types.accepts_json()
    }

    /// Whether any accepted media type is JSON: `application/json`, or a type that ends in `+json`.
    pub fn reads_json(&self) -> bool {
        self.content_types.reads_json()
    }

    /// Whether any accepted media type is not JSON.
    pub fn reads_bytes(&self) -> bool {
        self.content_types.opaque().is_some()
    }

    /// Whether the commands are CloudEvents.
    pub fn accepts_events(&self) -> bool {
        self.cloudevents != CloudEvents::Off
    }

    /// The request header that contains the key, in lower case.
    pub fn key_header(&self) -> Option<&str> {
        match &self.key {
            Key::Header(name) => Some(name),
            Key::None | Key::Pointer(_) => None,
        }
    }

    /// Whether the commands are CloudEvents, and their content mode in Kafka.
    pub fn cloudevents(&self) -> CloudEvents {
        self.cloudevents
    }

    /// Checks one JSON body:
    ///
    /// - It is one object, nested at most [`super::MAX_DEPTH`] levels.
    /// - The key exists at the configured pointer.
    /// - No member on the path to the key occurs twice. If the kind has a schema, no member at all occurs twice.
    /// - The schema is satisfied.
    pub fn admit(&self, body: &Bytes) -> Result<Admitted, Rejection> {
        self.checked(body, bounded_text(body, b'{')?)
    }

    /// Checks the JSON data of an event. Any JSON value is accepted, unless the kind's schema or key requires more.
    pub fn admit_data(&self, data: Option<&Bytes>) -> Result<Admitted, Rejection> {
        match (data, &self.key) {
            (Some(data), Key::Pointer(_)) => self.admit(data),
            (Some(data), _) => self.checked(data, check_depth(utf8_text(data)?)?),
            (None, Key::Pointer(_)) => Err(Rejection::NoData),
            (None, _) if self.schema.is_some() => Err(Rejection::NoData),
            (None, _) => Ok(Admitted { key: None }),
        }
    }

    fn checked(&self, body: &Bytes, text: &str) -> Result<Admitted, Rejection> {
        if let Some(schema) = &self.schema {
            schema.check(&strict::parse(text)?)?;
        }
        let key = match &self.key {
            Key::Pointer(pointer) => Some(key_of(pointer, body, text)?),
            // With a schema, the strict parser has already checked the text.
            _ if self.schema.is_some() => None,
            _ => serde_json::from_str::<IgnoredAny>(text).map(|_| None)?,
        };
        Ok(Admitted { key })
    }
}

/// Parses a body that is one JSON object. It must be nested at most [`super::MAX_DEPTH`] levels, without duplicate
/// members.
pub fn object(body: &Bytes) -> Result<Map<String, Value>, Rejection> {
    match strict::parse(bounded_text(body, b'{')?)? {
        Value::Object(members) => Ok(members),
        _ => Err(Rejection::NotAnObject),
    }
}

/// Returns the body as text that is safe to parse. `opening` is the required first character: `{` or `[`.
pub fn bounded_text(body: &Bytes, opening: u8) -> Result<&str, Rejection> {
    let text = utf8_text(body)?;
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    match first {
        Some(first) if *first == opening => check_depth(text),
        _ if opening == b'[' => Err(Rejection::NotAnArray),
        _ => Err(Rejection::NotAnObject),
    }
}

fn utf8_text(body: &Bytes) -> Result<&str, Rejection> {
    let text = str::from_utf8(body).map_err(|_| Rejection::NotUtf8)?;
    if body.contains(&0) {
        return Err(Rejection::Nul);
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(Rejection::ByteOrderMark);
    }
    Ok(text)
}

fn check_depth(text: &str) -> Result<&str, Rejection> {
    if nesting::is_too_deep(text.as_bytes()) { Err(Rejection::TooDeep) } else { Ok(text) }
}

fn key_of(pointer: &Pointer, body: &Bytes, text: &str) -> Result<Bytes, Rejection> {
    let at = || pointer.as_str().to_owned();
    let raw = match pointer.find(text)? {
        PointerMatch::Duplicate(name) => {
            return Err(Rejection::Duplicate { name: truncated(name, MAX_KEY_BYTES) });
        }
        PointerMatch::Text(raw) => raw.ok_or_else(|| Rejection::NoKey { pointer: at() })?.get(),
    };
    let key = match raw.as_bytes().first() {
        Some(b'"') => string_key(body, raw).ok_or_else(|| Rejection::BadKey { pointer: at() })?,
        Some(b'-' | b'0'..=b'9') => body.slice_ref(raw.as_bytes()),
        _ => return Err(Rejection::NoKey { pointer: at() }),
    };
    if key.len() > MAX_KEY_BYTES {
        return Err(Rejection::LongKey { pointer: at() });
    }
    Ok(key)
}

/// The decoded string. It is a slice of the body if the string has no escapes.
fn string_key(body: &Bytes, raw: &str) -> Option<Bytes> {
    let inner = &raw[1..raw.len() - 1];
    let key: Cow<'_, str> =
        if inner.contains('\\') { Cow::Owned(serde_json::from_str(raw).ok()?) } else { Cow::Borrowed(inner) };
    if key.contains('\0') {
        return None;
    }
    Some(match key {
        Cow::Borrowed(key) => body.slice_ref(key.as_bytes()),
        Cow::Owned(key) => Bytes::from(key),
    })
}

impl From<serde_json::Error> for Rejection {
    /// Keeps only the position, because the parser's message may contain a value.
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        // The parser's errors differ only in their message.
        let message = error.to_string();
        if message.starts_with("number out of range") {
            return Self::NumberOutOfRange { line, column };
        }
        if message.starts_with("trailing characters") {
            return Self::TrailingText { line, column };
        }
        Self::NotJson { line, column }
    }
}
