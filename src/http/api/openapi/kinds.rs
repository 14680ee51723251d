//! The configured kinds: the name, schema and example of each.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema_translator;
use crate::kinds::{Kind, Kinds};

/// One kind as it is described.
pub struct DescribedKind<'a> {
    pub kind: &'a Kind,
    /// What generated clients can name their functions and types after: unique, and made of letters, digits and `_`.
    pub identifier: String,
    /// A body that the kind admits.
    pub example: Option<Value>,
}

/// All kinds, by name.
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
    /// The name of the component that is its schema.
    pub fn component(&self) -> String {
        format!("command_{}", self.identifier)
    }

    /// Its schema, and the definitions of that.
    pub fn schemas(&self) -> Vec<(String, Value)> {
        let opaque = |schema: Value| vec![(self.component(), schema)];
        // What a body is whatever its schema says.
        let any = match self.kind.takes_events() && self.kind.key().is_none() {
            true => json!({}),
            false => json!({"type": "object"}),
        };
        match self.kind.schema() {
            None if any == json!({}) => opaque(json!({"description": "Any JSON value"})),
            None => opaque(keyed(self.kind.key())),
            Some(schema) => schema_translator::translate(schema, &self.component()).unwrap_or_else(|| {
                let mut schema = any;
                schema["description"] =
                    json!("The kind has a JSON Schema, with references that OpenAPI cannot express.");
                opaque(schema)
            }),
        }
    }

    /// What there is to say about it.
    pub fn description(&self) -> String {
        let kind = self.kind;
        let (commands, demands) = match kind.takes_events() {
            true => ("CloudEvents", data_demands(kind)),
            false => ("Commands", body_demands(kind)),
        };
        format!("{commands} of the kind `{}`. {demands} {}", kind.name(), key_of(kind))
    }

    /// Whether each request has a body: an event may have no data.
    pub fn needs_body(&self) -> bool {
        !self.kind.takes_events() || self.kind.admit_data(None).is_err()
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
        (Some(pointer), _) if kind.takes_events() => format!("The value at `{pointer}` in the data"),
        (Some(pointer), _) => format!("The value at `{pointer}`"),
        (None, Some(header)) => format!("The header `{header}`"),
        (None, None) if kind.takes_events() => {
            return "The attribute `partitionkey` is the key: events of one key stay in order. Events without it may overtake \
                    each other."
                .to_owned();
        }
        (None, None) => return "The kind has no key: commands may overtake each other.".to_owned(),
    };
    format!("{place} is the key: commands of one key stay in order.")
}

/// The only demand of a kind without a schema: its key is a string or a number.
fn keyed(pointer: Option<&str>) -> Value {
    let mut schema = json!({"type": ["string", "number"]});
    for name in pointer.unwrap_or_default().split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        // An index may be one of an array.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return json!({"type": "object"});
        }
        let name = name.replace("~1", "/").replace("~0", "~");
        schema =
            json!({"type": "object", "required": [&name], "properties": Map::from_iter([(name, schema)])});
    }
    if schema["type"] == "object" { schema } else { json!({"type": "object"}) }
}

/// `order.create` as `order_create`. Kinds that differ in punctuation or case alone get a number.
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
    fn a_kind_without_a_schema_demands_its_key() {
        let key = json!({"type": ["string", "number"]});
        let inner = json!({"type": "object", "required": ["c"], "properties": {"c": key}});
        let expected = json!({"type": "object", "required": ["a/b"], "properties": {"a/b": inner}});
        assert_eq!(keyed(Some("/a~1b/c")), expected);
        assert_eq!(keyed(Some("/lines/0/id")), json!({"type": "object"}));
        assert_eq!(keyed(None), json!({"type": "object"}));
    }
}
