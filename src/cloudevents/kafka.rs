//! Renders events for Kafka (Kafka protocol binding).

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::event::Event;
use crate::command::{Headers, is_json};

/// Media type of an event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// The parts of an event's Kafka record.
#[derive(Debug, PartialEq, Eq)]
pub struct RenderedEvent {
    /// The header `content-type`. Empty: the record has no such header.
    pub content_type: String,
    /// Other headers in the format of [`Headers::encode`].
    pub headers: Vec<u8>,
    /// The value. `None` means a null value, which differs from an empty value.
    pub value: Option<Bytes>,
}

/// Binary mode: the value is the data, and each attribute is a header `ce_…`. Without data, the value is null.
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

/// Structured mode: the value is the event as one document. `document` is the received document, if the event arrived
/// as one. It is used unchanged.
pub fn structured(event: &Event, document: Option<Bytes>) -> RenderedEvent {
    let value = document.unwrap_or_else(|| {
        // Serialisation cannot fail, because the event consists of strings and parsed JSON.
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
