//! Request bodies and headers of a configured kind's path.

use serde_json::{Map, Value, json};

use super::components::reference;
use super::kinds::DescribedKind;
use crate::command::is_json;
use crate::kinds::Kind;

const NDJSON: &str = "application/x-ndjson";

/// The media types that a kind accepts, each with the schema of its bodies.
pub fn content(kind: &DescribedKind<'_>) -> Value {
    let mut content = Map::new();
    for name in kind.kind.content_types() {
        content.insert(name.clone(), media_type(name, kind));
    }
    if kind.kind.accepts_events() {
        let batch = json!({"type": "array", "maxItems": 10_000, "items": event(), "description": "All events are accepted, or none"});
        content.insert("application/cloudevents+json".to_owned(), json!({"schema": event()}));
        content.insert("application/cloudevents-batch+json".to_owned(), json!({"schema": batch}));
    } else if kind.kind.accepts_json() {
        content.insert(NDJSON.to_owned(), lines(kind));
    }
    Value::Object(content)
}

/// Headers of the kind: name, description, and whether the header is required.
pub fn headers(kind: &Kind) -> Vec<(String, String, bool)> {
    let key = kind.key_header().map(|name| (name.to_owned(), "The key of the record.".to_owned(), true));
    let names: &[&str] = if kind.accepts_events() { &["specversion", "id", "source", "type"] } else { &[] };
    let attributes = names.iter().map(|name| {
        let text = format!("The attribute `{name}` of an event. Required in binary mode.");
        (format!("ce-{name}"), text, false)
    });
    let partition_key = (kind.accepts_events() && kind.key().is_none()).then(|| {
        let text = "The attribute `partitionkey` of an event in binary mode. It is the key of the record.";
        ("ce-partitionkey".to_owned(), text.to_owned(), false)
    });
    key.into_iter().chain(attributes).chain(partition_key).collect()
}

fn media_type(name: &str, kind: &DescribedKind<'_>) -> Value {
    if !is_json(name) {
        // In OpenAPI 3.1, arbitrary bytes have no schema.
        return json!({});
    }
    let mut one = json!({"schema": reference(&kind.component())});
    if let Some(example) = &kind.example {
        one["example"] = example.clone();
    }
    one
}

fn lines(kind: &DescribedKind<'_>) -> Value {
    let text = "One object per line, at most 10,000 lines; all commands are accepted, or none";
    let mut batch = json!({"schema": {"type": "string", "description": text}});
    if let Some(example) = &kind.example {
        batch["example"] = json!(format!("{example}\n{example}\n"));
    }
    batch
}

fn event() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    json!({
        "type": "object",
        "description": "A CloudEvent 1.0; all other members are extension attributes",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"}, "id": text, "source": text, "type": text,
            "time": {"type": ["string", "null"], "format": "date-time"},
            "datacontenttype": {"type": ["string", "null"]},
            "data": true,
            "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
        },
    })
}
