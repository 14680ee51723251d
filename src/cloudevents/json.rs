//! The JSON event format, and its batches.

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

/// The most events of a batch.
pub const MAX_EVENTS: usize = 10_000;
/// Members of an event that are looked at: more than there may be attributes.
const MAX_MEMBERS: usize = 200;
/// A member's name in an error is for recognising it, not for repeating it.
const MAX_NAME_BYTES: usize = 100;

/// One event from its document.
pub fn from_json(document: &Bytes) -> Result<Event, EventError> {
    let text = bounded_text(document, b'{')?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let Members { members, duplicate: twice, excess: beyond } = (&mut parser).deserialize_map(Reader)?;
    parser.end()?;
    if let Some(name) = twice {
        return Err(Rejection::Duplicate { name: truncated(&name, MAX_NAME_BYTES) }.into());
    }
    let mut draft = EventBuilder::default();
    if let Some(name) = beyond {
        draft.add_error(&name, "an event may have at most 100 attributes");
    }
    let (mut data, mut base64) = (None, None);
    for (name, value) in &members {
        match &**name {
            "data" => data = Some(value.get()),
            // Like that of an attribute.
            "data_base64" => base64 = Some(value.get()).filter(|value| *value != "null"),
            name => attribute(&mut draft, name, value.get()),
        }
    }
    let is_text = draft.get("datacontenttype").is_some_and(|media_type| !is_json(media_type));
    let bytes = match (data, base64) {
        (Some(_), Some(_)) => {
            draft.add_error("data", "it excludes data_base64");
            None
        }
        (None, Some(base64)) => decoded(base64, &mut draft),
        (Some(data), None) if is_text => string(data, &mut draft),
        (Some(data), None) => Some(document.slice_ref(data.as_bytes())),
        (None, None) => None,
    };
    draft.finish(bytes, data.is_some() && !is_text)
}

/// The documents of a batch, each as it stands there.
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

/// The type system mapping of the JSON event format, section 2.2, backwards.
fn attribute(draft: &mut EventBuilder, name: &str, json: &str) {
    let must_be_text = REQUIRED.contains(&name) || OPTIONAL.contains(&name);
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str(json) {
            Ok(text) => draft.add(name, text),
            // Half a surrogate pair.
            Err(_) => draft.add_error(name, "it is not a Unicode string"),
        },
        Some(b'n') => {}
        _ if must_be_text => draft.add_error(name, "it must be a string"),
        Some(b't' | b'f') => draft.add(name, json.to_owned()),
        _ => match json.parse::<i32>() {
            Ok(number) => draft.add(name, number.to_string()),
            Err(_) => draft.add_error(name, "it must be a string, a boolean, or an integer of 32 bits"),
        },
    }
}

/// Data that is bytes.
fn decoded(base64: &str, draft: &mut EventBuilder) -> Option<Bytes> {
    let text: Option<String> = serde_json::from_str(base64).ok();
    let bytes = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    if bytes.is_none() {
        draft.add_error("data_base64", "it must be a string in base64");
    }
    bytes.map(Bytes::from)
}

/// Data that is text.
fn string(data: &str, draft: &mut EventBuilder) -> Option<Bytes> {
    if data == "null" {
        return None;
    }
    let text: Option<String> = serde_json::from_str(data).ok();
    if text.is_none() {
        draft.add_error("data", "it must be a string, because datacontenttype is not JSON");
    }
    text.map(Bytes::from)
}

/// The members of an object.
#[derive(Default)]
struct Members<'a> {
    members: Vec<(String, &'a RawValue)>,
    /// The name of one that stands twice.
    duplicate: Option<String>,
    /// The name of one that is too many.
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

/// The elements of an array; none where there are too many.
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
        // To the end, so that what is malformed is called that.
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_more = true;
        }
        Ok((!is_more).then_some(elements))
    }
}
