//! Reads the JSON event format and its batches.

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attribute::{OPTIONAL, REQUIRED};
use super::error::EventError;
use super::event::{Event, EventBuilder};
use crate::bounded_errors::truncated;
use crate::command::is_json;
use crate::kinds::{Rejection, bounded_text};

/// Maximum number of events in a batch.
pub const MAX_EVENTS: usize = 10_000;
/// Maximum number of an event's members that are read. It is larger than the maximum number of attributes.
const MAX_MEMBERS: usize = 200;
/// Maximum bytes of a member's name in an error. It is enough to recognise the member.
const MAX_NAME_BYTES: usize = 100;

/// Reads one event from its document.
pub fn from_json(document: &Bytes) -> Result<Event, EventError> {
    let text = bounded_text(document, b'{')?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let Members { members, duplicate, excess } = (&mut parser).deserialize_map(Reader)?;
    parser.end()?;
    if let Some(name) = duplicate {
        return Err(Rejection::Duplicate { name: truncated(&name, MAX_NAME_BYTES) }.into());
    }
    let mut draft = EventBuilder::default();
    if let Some(name) = excess {
        draft.add_error(&name, "exceeds the limit of 100 attributes per event");
    }
    let (mut data, mut base64) = (None, None);
    for (name, value) in &members {
        match &**name {
            "data" => data = Some(value.get()),
            // `null` means absent, as for attributes.
            "data_base64" => base64 = Some(value.get()).filter(|value| *value != "null"),
            name => attribute(&mut draft, name, value.get()),
        }
    }
    let is_text = draft.get("datacontenttype").is_some_and(|media_type| !is_json(media_type));
    let bytes = match (data, base64) {
        (Some(_), Some(_)) => {
            draft.add_error("data", "must not be sent together with data_base64");
            None
        }
        (None, Some(base64)) => decoded(base64, &mut draft),
        (Some(data), None) if is_text => string(data, &mut draft),
        (Some(data), None) => Some(document.slice_ref(data.as_bytes())),
        (None, None) => None,
    };
    draft.finish(bytes, data.is_some() && !is_text)
}

/// The documents of a batch, unchanged.
pub fn batch(body: &Bytes) -> Result<Vec<Bytes>, EventError> {
    let text = str::from_utf8(body).map_err(|_| Rejection::NotUtf8)?;
    if !text.trim_ascii_start().starts_with('[') {
        return Err(Rejection::NotAnArray.into());
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let Some(elements) = (&mut parser).deserialize_seq(Elements)? else { return Err(EventError::TooMany) };
    parser.end()?;
    Ok(elements.iter().map(|element| body.slice_ref(element.get().as_bytes())).collect())
}

/// Adds an attribute. Converts its JSON value to the canonical string form: the inverse of the type system mapping in
/// section 2.2 of the JSON event format.
fn attribute(draft: &mut EventBuilder, name: &str, json: &str) {
    let must_be_text = REQUIRED.contains(&name) || OPTIONAL.contains(&name);
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str(json) {
            Ok(text) => draft.add(name, text),
            // A lone surrogate.
            Err(_) => draft.add_error(name, "must be a Unicode string"),
        },
        Some(b'n') => {}
        _ if must_be_text => draft.add_error(name, "must be a string"),
        Some(b't' | b'f') => draft.add(name, json.to_owned()),
        _ => match json.parse::<i32>() {
            Ok(number) => draft.add(name, number.to_string()),
            Err(_) => draft.add_error(name, "must be a string, a boolean, or a 32-bit integer"),
        },
    }
}

/// Decodes `data_base64`.
fn decoded(base64: &str, draft: &mut EventBuilder) -> Option<Bytes> {
    let text: Option<String> = serde_json::from_str(base64).ok();
    let bytes = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    if bytes.is_none() {
        draft.add_error("data_base64", "must be a string in base64");
    }
    bytes.map(Bytes::from)
}

/// Reads `data` that is text.
fn string(data: &str, draft: &mut EventBuilder) -> Option<Bytes> {
    if data == "null" {
        return None;
    }
    let text: Option<String> = serde_json::from_str(data).ok();
    if text.is_none() {
        draft.add_error("data", "must be a string, because datacontenttype is not JSON");
    }
    text.map(Bytes::from)
}

/// The members of an object.
#[derive(Default)]
struct Members<'a> {
    members: Vec<(String, &'a RawValue)>,
    /// Name of the first duplicate member.
    duplicate: Option<String>,
    /// Name of the first member above the limit.
    excess: Option<String>,
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            if found.members.iter().any(|(own, _)| *own == name) {
                map.next_value::<IgnoredAny>()?;
                found.duplicate.get_or_insert(name);
            } else if found.members.len() == MAX_MEMBERS {
                map.next_value::<IgnoredAny>()?;
                found.excess.get_or_insert(name);
            } else {
                found.members.push((name, map.next_value()?));
            }
        }
        Ok(found)
    }
}

/// Reads the elements of an array. `None` if the array has too many.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < MAX_EVENTS {
            match items.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Some(elements)),
            }
        }
        let mut is_more = false;
        // Read to the end, so that malformed JSON is reported as malformed.
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_more = true;
        }
        Ok((!is_more).then_some(elements))
    }
}
