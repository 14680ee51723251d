//! Name, schema and example of each configured kind.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema_translator;
use crate::kinds::{Kind, Kinds};

/// A kind with the data for its description.
pub struct DescribedKind<'a> {
    pub kind: &'a Kind,
    /// Unique identifier of letters, digits and `_`. Generated clients can use it in names of functions and types.
    pub identifier: String,
    /// A body that the kind accepts.
    pub example: Option<Value>,
}

/// All kinds, sorted by name.
pub fn described(kinds: &Kinds) -> Vec<DescribedKind<'_>> {
    let mut kinds: Vec<&Kind> = kinds.iter().collect();
    kinds.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    let mut taken = BTreeSet::new();
    kinds
        .into_iter()
        .map(|kind| DescribedKind {
            kind,
            identifier: identifier(kind.name(), &mut taken),
            example: kind.example(),
        })
        .collect()
}

impl DescribedKind<'_> {
    /// The name of the schema's component.
    pub fn component(&self) -> String {
        format!("command_{}", self.identifier)
    }

    /// The schema of the kind and its definitions, each with the name of its component.
    pub fn schemas(&self) -> Vec<(String, Value)> {
        let opaque = |schema: Value| vec![(self.component(), schema)];
        // What is known of a body without its schema.
        let any = match self.kind.accepts_events() && self.kind.key().is_none() {
            true => json!({}),
            false => json!({"type": "object"}),
        };
        match self.kind.schema() {
            None if any == json!({}) => opaque(json!({"description": "Any JSON value"})),
            None => opaque(keyed(self.kind.key())),
            Some(schema) => schema_translator::translate(schema, &self.component()).unwrap_or_else(|| {
                let mut schema = any;
                schema["description"] =
                    json!("The kind has a JSON Schema with references that OpenAPI cannot express.");
                opaque(schema)
            }),
        }
    }

    /// The description of the kind's operation.
    pub fn description(&self) -> String {
        let kind = self.kind;
        let (commands, demands) = match kind.accepts_events() {
            true => ("CloudEvents", data_demands(kind)),
            false => ("Commands", body_demands(kind)),
        };
        format!("{commands} of the kind `{}`. {demands} {}", kind.name(), key_of(kind))
    }

    /// Whether every request needs a body. An event may have no data.
    pub fn needs_body(&self) -> bool {
        !self.kind.accepts_events() || self.kind.admit_data(None).is_err()
    }
}

fn body_demands(kind: &Kind) -> &'static str {
    match kind.schema() {
        Some(_) => "The body must satisfy the kind's schema.",
        None if kind.reads_json() && kind.reads_bytes() => {
            "Any JSON object is accepted, and any bytes of the other media types."
        }
        None if kind.reads_json() => "Any JSON object is accepted.",
        None => "Any bytes are accepted.",
    }
}

fn data_demands(kind: &Kind) -> &'static str {
    match (kind.schema(), kind.key()) {
        (Some(_), _) => "The data must satisfy the kind's schema.",
        (None, Some(_)) => "The data may be any JSON object.",
        (None, None) if kind.reads_json() && kind.reads_bytes() => {
            "The data may be any JSON value, or any bytes of the other media types."
        }
        (None, None) if kind.reads_json() => "The data may be any JSON value.",
        (None, None) => "The data may be any bytes.",
    }
}

fn key_of(kind: &Kind) -> String {
    let place = match (kind.key(), kind.key_header()) {
        (Some(pointer), _) if kind.accepts_events() => format!("The value at `{pointer}` in the data"),
        (Some(pointer), _) => format!("The value at `{pointer}`"),
        (None, Some(header)) => format!("The header `{header}`"),
        (None, None) if kind.accepts_events() => {
            return "The attribute `partitionkey` is the key. Events with the same key stay in order. Events without it may \
                    be reordered."
                .to_owned();
        }
        (None, None) => return "The kind has no key: commands may be reordered.".to_owned(),
    };
    format!("{place} is the key. Commands with the same key stay in order.")
}

/// The schema of a kind without one: only the key is required, as a string or a number.
fn keyed(pointer: Option<&str>) -> Value {
    let mut schema = json!({"type": ["string", "number"]});
    for name in pointer.unwrap_or_default().split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        // A number may be an index of an array, which this schema cannot express.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return json!({"type": "object"});
        }
        let name = name.replace("~1", "/").replace("~0", "~");
        schema =
            json!({"type": "object", "required": [&name], "properties": Map::from_iter([(name, schema)])});
    }
    if schema["type"] == "object" { schema } else { json!({"type": "object"}) }
}

/// Converts `order.create` to `order_create`. Kinds that differ only in punctuation or case get a number.
fn identifier(kind: &str, taken: &mut BTreeSet<String>) -> String {
    let plain: String = kind.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut identifier = plain.clone();
    let mut number = 1;
    while !taken.insert(identifier.to_lowercase()) {
        number += 1;
        identifier = format!("{plain}_{number}");
    }
    identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_unique() {
        let mut taken = BTreeSet::new();
        let identifiers =
            ["a-b", "a.b", "a_b_2", "A_B", "order.create"].map(|kind| identifier(kind, &mut taken));
        assert_eq!(identifiers, ["a_b", "a_b_2", "a_b_2_2", "A_B_3", "order_create"]);
    }

    #[test]
    fn schemaless_kinds_require_only_their_key() {
        let key = json!({"type": ["string", "number"]});
        let inner = json!({"type": "object", "required": ["c"], "properties": {"c": key}});
        let expected = json!({"type": "object", "required": ["a/b"], "properties": {"a/b": inner}});
        assert_eq!(keyed(Some("/a~1b/c")), expected);
        assert_eq!(keyed(Some("/lines/0/id")), json!({"type": "object"}));
        assert_eq!(keyed(None), json!({"type": "object"}));
    }
}
