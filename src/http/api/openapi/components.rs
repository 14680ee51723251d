//! Components of the OpenAPI description: references to them, and removal of unused ones.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Prefix of a reference to a schema.
pub(super) const SCHEMAS: &str = "#/components/schemas/";
/// Prefix of a reference to a response.
pub(super) const RESPONSES: &str = "#/components/responses/";

/// Removes components that are not referenced by `users` or, directly or indirectly, by a used component.
pub(super) fn remove_unused(
    components: &mut Map<String, Value>,
    prefix: &str,
    users: &[&Map<String, Value>],
) {
    let mut used = BTreeSet::new();
    let mut found = Vec::new();
    users.iter().flat_map(|user| user.values()).for_each(|value| references(value, prefix, &mut found));
    while let Some(name) = found.pop() {
        if let Some(component) = components.get(&name).filter(|_| !used.contains(&name)) {
            references(component, prefix, &mut found);
            used.insert(name);
        }
    }
    components.retain(|name, _| used.contains(name));
}

/// Adds the components below `prefix` that `value` references.
fn references(value: &Value, prefix: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, prefix, found)),
        Value::Object(members) => {
            let target =
                members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(prefix));
            found.extend(target.map(|target| target.split('/').next().unwrap_or_default().to_owned()));
            members.values().for_each(|member| references(member, prefix, found));
        }
        _ => {}
    }
}

/// The content of a body: its media type and a reference to its schema.
pub(super) fn content(media_type: &str, schema: &str) -> Value {
    json!({media_type: {"schema": reference(schema)}})
}

pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{schema}")})
}
