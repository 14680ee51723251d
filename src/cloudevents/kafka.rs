//! The Kafka protocol binding.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::event::Event;
use crate::command::{Headers, is_json};

/// The media type of an event as one document.
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// What Kafka gets of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct RenderedEvent {
    /// The header `content-type`; empty: none.
    pub content_type: String,
    /// Further headers, as [`Headers::encode`] writes them.
    pub headers: Vec<u8>,
    /// The value; none is not the same as an empty one.
    pub value: Option<Bytes>,
}

/// Binary: the data as value, each attribute a header `ce_…`. Without data there is no value.
pub fn binary(event: &Event) -> RenderedEvent {
    let named: Vec<(String, &str)> = event
        .attributes()
        .filter(|(name, _)| *name != "datacontenttype")
        .map(|(name, value)| (format!("ce_{name}"), value))
        .collect();
    RenderedEvent {
        content_type: event.get("datacontenttype").unwrap_or_default().to_owned(),
        headers: Headers::encode(named.iter().map(|(name, value)| (name.as_str(), *value))),
        value: event.data().cloned(),
    }
}

/// Structured: the event as one document. `document`: it was one when it came.
pub fn structured(event: &Event, document: Option<Bytes>) -> RenderedEvent {
    let value = document.unwrap_or_else(|| {
        // Strings, and JSON that was parsed: there is nothing in it that JSON could not say.
        Bytes::from(serde_json::to_vec(&Document(event)).unwrap_or_default())
    });
    RenderedEvent { content_type: STRUCTURED.to_owned(), headers: Vec::new(), value: Some(value) }
}

struct Document<'a>(&'a Event);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(event) = self;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in event.attributes() {
            map.serialize_entry(name, value)?;
        }
        if let Some(data) = event.data() {
            let is_json = event.get("datacontenttype").is_some_and(is_json);
            let json: Option<&RawValue> = is_json.then(|| serde_json::from_slice(data).ok()).flatten();
            match json {
                Some(json) => map.serialize_entry("data", json)?,
                None => map.serialize_entry("data_base64", &BASE64.encode(data))?,
            }
        }
        map.end()
    }
}
