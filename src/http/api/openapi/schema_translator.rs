//! Translates the JSON Schema of a kind into schemas of OpenAPI 3.1. The same bodies stay valid.
//!
//! OpenAPI has a different place for definitions, supports only the newest draft, and resolves references against the
//! whole OpenAPI document. Therefore:
//!
//! - definitions become components,
//! - older keywords become their successors,
//! - references are rewritten,
//! - keywords that no draft has are omitted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Location of the components in the OpenAPI document.
const COMPONENTS: &str = "#/components/schemas/";
/// Keywords whose value is copied unchanged. All other keywords, except those with subschemas, are omitted.
const COPIED_KEYWORDS: [&str; 30] = [
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// Translates `schema` into components. The first component has the name `name` and is the schema itself. Returns
/// `None` if the schema has references that cannot be rewritten: into other files, dynamic ones, or below the `$id` of
/// a subschema.
pub fn translate(schema: &Value, name: &str) -> Option<Vec<(String, Value)>> {
    let Value::Object(root) = schema else { return None };
    let mut translation = SchemaTranslator {
        root: schema,
        name,
        id: id_of(root).unwrap_or_default().trim_end_matches('#'),
        is_ref_alone: is_draft_7_or_older(root),
        definitions: BTreeMap::new(),
        pending: Vec::new(),
    };
    let body = as_body(translation.keywords(root, SchemaPosition::Root)?);
    let mut components = vec![(name.to_owned(), Value::Object(body))];
    while let Some((name, pointer)) = translation.pending.pop() {
        components.push((name, translation.schema(schema.pointer(&pointer)?)?));
    }
    let by_name = components.iter().map(|(name, schema)| (name.as_str(), schema)).collect();
    components.iter().all(|(_, schema)| all_references_resolve(schema, &by_name)).then_some(components)
}

/// Adds that a body is an object. Converts the title to the description, because the component's name is the title.
fn as_body(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(title) = schema.remove("title") {
        schema.entry("description").or_insert(title);
    }
    if !schema.contains_key("$ref") {
        schema.entry("type").or_insert_with(|| json!("object"));
    }
    schema
}

/// Whether the schema has draft 7 or older, where keywords next to `$ref` are ignored.
fn is_draft_7_or_older(root: &Map<String, Value>) -> bool {
    let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
    ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| draft.contains(old))
}

fn id_of(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("$id").or_else(|| schema.get("id"))?.as_str()
}

/// Whether the target of every reference in `schema` exists.
fn all_references_resolve(schema: &Value, components: &BTreeMap<&str, &Value>) -> bool {
    match schema {
        Value::Array(items) => items.iter().all(|item| all_references_resolve(item, components)),
        Value::Object(members) => members.iter().all(|(keyword, value)| match (keyword.as_str(), value) {
            ("$ref", Value::String(target)) => {
                let target = target.strip_prefix(COMPONENTS).unwrap_or_default();
                let (name, rest) = target.split_at(target.find('/').unwrap_or(target.len()));
                components.get(name).is_some_and(|component| component.pointer(rest).is_some())
            }
            _ => all_references_resolve(value, components),
        }),
        _ => true,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SchemaPosition {
    Root,
    Below,
}

struct SchemaTranslator<'a> {
    root: &'a Value,
    name: &'a str,
    /// The `$id` of the schema. A reference to it is a reference into this schema.
    id: &'a str,
    is_ref_alone: bool,
    /// Pointers of the referenced definitions, by the name of their component.
    definitions: BTreeMap<String, String>,
    pending: Vec<(String, String)>,
}

impl SchemaTranslator<'_> {
    fn schema(&mut self, schema: &Value) -> Option<Value> {
        match schema {
            Value::Object(keywords) => Some(Value::Object(self.keywords(keywords, SchemaPosition::Below)?)),
            Value::Bool(_) => Some(schema.clone()),
            _ => None,
        }
    }

    fn keywords(&mut self, schema: &Map<String, Value>, place: SchemaPosition) -> Option<Map<String, Value>> {
        // References inside a subschema with an `$id` are relative to that `$id`. They cannot be translated.
        if place == SchemaPosition::Below && id_of(schema).is_some() {
            return None;
        }
        let mut translated = Map::new();
        if let Some(target) = schema.get("$ref") {
            translated.insert("$ref".to_owned(), json!(self.reference(target.as_str()?)?));
            if self.is_ref_alone {
                return Some(translated);
            }
        }
        for (keyword, value) in schema {
            self.keyword(keyword, value, schema, place, &mut translated)?;
        }
        without_boolean_bounds(&mut translated);
        Some(translated)
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        schema: &Map<String, Value>,
        place: SchemaPosition,
        translated: &mut Map<String, Value>,
    ) -> Option<()> {
        let mut put = |keyword: &str, value| {
            translated.insert(keyword.to_owned(), value);
        };
        match (keyword, value) {
            ("$dynamicRef" | "$recursiveRef", _) => return None,
            ("additionalProperties" | "contains" | "else" | "if" | "not" | "propertyNames" | "then", _)
            | ("contentSchema" | "unevaluatedItems" | "unevaluatedProperties", _) => {
                put(keyword, self.schema(value)?);
            }
            ("items", Value::Array(_)) => put("prefixItems", self.list(value)?),
            ("items", _) => put("items", self.schema(value)?),
            // Without a list in `items`, it has no meaning.
            ("additionalItems", _) if schema.get("items").is_some_and(Value::is_array) => {
                put("items", self.schema(value)?);
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", _) => put(keyword, self.list(value)?),
            ("dependentSchemas" | "patternProperties" | "properties", _) => put(keyword, self.map(value)?),
            // Definitions of the root become components.
            ("$defs" | "definitions", _) if place == SchemaPosition::Below => put(keyword, self.map(value)?),
            ("dependencies", Value::Object(dependencies)) => self.dependencies(dependencies, translated)?,
            (keyword, value) if COPIED_KEYWORDS.contains(&keyword) || keyword.starts_with("x-") => {
                put(keyword, value.clone());
            }
            _ => {}
        }
        Some(())
    }

    fn list(&mut self, schemas: &Value) -> Option<Value> {
        schemas.as_array()?.iter().map(|schema| self.schema(schema)).collect()
    }

    fn map(&mut self, schemas: &Value) -> Option<Value> {
        let translated = |(name, schema): (&String, &Value)| Some((name.clone(), self.schema(schema)?));
        schemas.as_object()?.iter().map(translated).collect::<Option<Map<_, _>>>().map(Value::Object)
    }

    /// Splits `dependencies` of draft 7 and older into its two successors.
    fn dependencies(
        &mut self,
        dependencies: &Map<String, Value>,
        translated: &mut Map<String, Value>,
    ) -> Option<()> {
        let (mut names, mut schemas) = (Map::new(), Map::new());
        for (name, dependency) in dependencies {
            match dependency {
                Value::Array(_) => names.insert(name.clone(), dependency.clone()),
                _ => schemas.insert(name.clone(), self.schema(dependency)?),
            };
        }
        for (keyword, members) in [("dependentRequired", names), ("dependentSchemas", schemas)] {
            if !members.is_empty() {
                translated.insert(keyword.to_owned(), Value::Object(members));
            }
        }
        Some(())
    }

    /// Rewrites a reference for the OpenAPI document. A referenced definition of the root becomes a component.
    fn reference(&mut self, target: &str) -> Option<String> {
        let (address, fragment) = target.split_once('#').unwrap_or((target, ""));
        if !(address.is_empty() || address == self.id) || fragment.contains('%') {
            return None;
        }
        let anchored = || anchor(self.root, fragment, "");
        let pointer =
            if fragment.is_empty() || fragment.starts_with('/') { fragment.to_owned() } else { anchored()? };
        let definition = pointer.strip_prefix("/$defs/").or_else(|| pointer.strip_prefix("/definitions/"));
        let Some(definition) = definition else { return Some(format!("{COMPONENTS}{}{pointer}", self.name)) };
        let (definition, rest) = definition.split_at(definition.find('/').unwrap_or(definition.len()));
        // Names of components have these characters only.
        if !definition.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return None;
        }
        let component = format!("{}.{definition}", self.name);
        let pointer = pointer[..pointer.len() - rest.len()].to_owned();
        let reference = format!("{COMPONENTS}{component}{rest}");
        match self.definitions.get(&component) {
            Some(other) if *other != pointer => return None,
            Some(_) => {}
            None => {
                self.definitions.insert(component.clone(), pointer.clone());
                self.pending.push((component, pointer));
            }
        }
        Some(reference)
    }
}

/// The pointer to the subschema with this `$anchor`. The search includes places that are not schemas. A wrong match is
/// detected later, because its reference does not resolve.
fn anchor(schema: &Value, name: &str, pointer: &str) -> Option<String> {
    match schema {
        Value::Object(members) if members.get("$anchor").and_then(Value::as_str) == Some(name) => {
            Some(pointer.to_owned())
        }
        Value::Object(members) => members.iter().find_map(|(member, value)| {
            let escaped = member.replace('~', "~0").replace('/', "~1");
            anchor(value, name, &format!("{pointer}/{escaped}"))
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| anchor(item, name, &format!("{pointer}/{index}"))),
        _ => None,
    }
}

/// Converts the boolean `exclusiveMinimum` and `exclusiveMaximum` of draft 4 to the numbers of later drafts.
fn without_boolean_bounds(schema: &mut Map<String, Value>) {
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(Value::Bool(is_exclusive)) = schema.get(exclusive) else { continue };
        let is_exclusive = *is_exclusive;
        schema.remove(exclusive);
        if is_exclusive && let Some(value) = schema.remove(bound) {
            schema.insert(exclusive.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles the components and checks a body against them.
    fn accepts(components: &[(String, Value)], body: &Value) -> bool {
        let schemas: Map<String, Value> = components.iter().cloned().collect();
        let reference = format!("{COMPONENTS}{}", components[0].0);
        let document = json!({"$ref": reference, "components": {"schemas": schemas}});
        jsonschema::draft202012::new(&document).unwrap().is_valid(body)
    }

    #[track_caller]
    fn means_the_same(schema: &Value, bodies: &[(Value, bool)]) {
        let components = translate(schema, "command_a").unwrap();
        let original = jsonschema::validator_for(schema).unwrap();
        for (body, expected) in bodies {
            assert_eq!(original.is_valid(body), *expected, "the schema and {body}");
            assert_eq!(accepts(&components, body), *expected, "{components:?} and {body}");
        }
    }

    #[test]
    fn definitions_become_components() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.org/order.json",
            "$comment": "internal",
            "title": "An order",
            "properties": {
                "to": {"$ref": "#/$defs/address"},
                "from": {"$ref": "https://example.org/order.json#/$defs/address"},
                "city": {"$ref": "#/$defs/address/properties/city"},
                "first": {"$ref": "#line"},
                "parts": {"items": {"$ref": "#"}},
            },
            "$defs": {
                "address": {"required": ["city"], "properties": {"city": {"type": "string"}}},
                "line": {"$anchor": "line", "type": "integer", "unit": "mm"},
                "unused": {"type": "null"},
            },
        });
        let components = translate(&schema, "command_a").unwrap();
        let by_name: BTreeMap<_, _> =
            components.iter().map(|(name, schema)| (name.as_str(), schema)).collect();
        let names: Vec<_> = by_name.keys().copied().collect();
        assert_eq!(names, ["command_a", "command_a.address", "command_a.line"]);
        let root = by_name["command_a"];
        assert_eq!(root["description"], "An order");
        assert_eq!(root["properties"]["to"], json!({"$ref": "#/components/schemas/command_a.address"}));
        assert_eq!(by_name["command_a.line"], &json!({"type": "integer"}));
        means_the_same(
            &schema,
            &[
                (json!({"to": {"city": "x"}, "from": {"city": "y"}, "city": "z", "first": 1}), true),
                (json!({"to": {}}), false),
                (json!({"from": {"city": 1}}), false),
                (json!({"city": 1}), false),
                (json!({"first": "1"}), false),
                (json!({"parts": [{"parts": [{"first": "1"}]}]}), false),
            ],
        );
    }

    #[test]
    fn keywords_of_older_drafts_become_their_successors() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "pair": {"items": [{"type": "string"}, {"type": "number"}], "additionalItems": false},
                "same": {"$ref": "#/definitions/text", "maxLength": 1},
                "items": {"const": {"items": [1]}},
            },
            "dependencies": {"a": ["b"], "c": {"required": ["d"]}},
            "definitions": {"text": {"type": "string"}},
        });
        means_the_same(
            &schema,
            &[
                (json!({"pair": ["x", 1], "same": "long", "items": {"items": [1]}}), true),
                (json!({"pair": ["x", 1, 2]}), false),
                (json!({"pair": [1]}), false),
                (json!({"same": 1}), false),
                (json!({"a": 1}), false),
                (json!({"a": 1, "b": 1}), true),
                (json!({"c": 1}), false),
            ],
        );
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": {
                "above": {"minimum": 0, "exclusiveMinimum": true},
                "least": {"minimum": 0, "exclusiveMinimum": false},
            },
        });
        let zero = |member: &str| json!({member: 0});
        means_the_same(
            &schema,
            &[(zero("above"), false), (zero("least"), true), (json!({"least": -1}), false)],
        );
    }

    #[test]
    fn untranslatable_schemas_are_rejected() {
        for schema in [
            json!({"properties": {"a": {"$ref": "other.json"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/missing"}}}),
            json!({"properties": {"a": {"$dynamicRef": "#a"}}}),
            json!({"properties": {"a": {"$id": "a.json", "$ref": "#"}}}),
            json!({"$ref": "#/$defs/a b", "$defs": {"a b": {}}}),
            json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/definitions/a"}], "$defs": {"a": {}}, "definitions": {"a": {}}}),
            json!(true),
        ] {
            assert_eq!(translate(&schema, "command_a"), None, "{schema}");
        }
    }
}
