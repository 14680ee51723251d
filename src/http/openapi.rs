//! `GET /openapi.json`, from the same tables that route and refuse.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::problem;
use super::route::Route;
use crate::kinds::Kinds;

/// The description of a listener with these routes and kinds.
pub(super) fn describe<E>(routes: &[Route<E>], kinds: &Kinds) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route, kinds);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "forebay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Create commands, durable on local disk before they are acknowledged.",
        },
        "paths": paths,
        "components": {"schemas": schemas(), "responses": {"problem": problem_response()}},
    })
}

fn operation<E>(route: &Route<E>, kinds: &Kinds) -> Value {
    let mut responses = Map::new();
    responses.insert(route.usual.to_string(), usual_response(route));
    responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/problem"}));
    let mut parameters: Vec<Value> = parameter(route, kinds).into_iter().collect();
    let mut operation = json!({"summary": route.summary});
    if route.path.starts_with("/v1/commands/") {
        parameters.push(header("Prefer", "`wait=N` waits up to N seconds (at most 60) for a final state."));
    }
    if route.method == "POST" {
        responses.insert("200".to_owned(), json!({
            "description": "After `Prefer: wait=N`: the command's status, or `{\"commands\":[…]}` for a batch",
            "content": content("application/json", "status"),
        }));
        parameters.push(header("Idempotency-Key", "1 to 255 printable ASCII characters, quoted or not."));
        parameters.push(header("traceparent", "W3C trace context, kept with the record."));
        operation["requestBody"] = json!({"required": true, "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One object a line; all or nothing"}},
        }});
    }
    operation["parameters"] = json!(parameters);
    operation["responses"] = json!(responses);
    operation
}

/// The `{name}` at the end of the path.
fn parameter<E>(route: &Route<E>, kinds: &Kinds) -> Option<Value> {
    let (_, name) = route.path.split_once('{')?;
    let name = name.trim_end_matches('}');
    let mut schema = json!({"type": "string"});
    if name == "kind" {
        let mut names: Vec<&str> = kinds.iter().map(|kind| &**kind.name()).collect();
        names.sort_unstable();
        schema["enum"] = json!(names);
    }
    Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

fn content(media_type: &str, schema: &str) -> Value {
    json!({media_type: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}})
}

fn usual_response<E>(route: &Route<E>) -> Value {
    match (route.method, route.path) {
        ("POST", _) => json!({
            "description": "On stable storage",
            "headers": {
                "Location": {"description": "Where its status is", "schema": {"type": "string"}},
                "Idempotency-Replayed": {"description": "`true` on a repeat", "schema": {"type": "string"}},
            },
            "content": content("application/json", "accepted"),
        }),
        (_, "/v1/commands/{id}") => {
            json!({"description": "Its status", "content": content("application/json", "status")})
        }
        _ => json!({"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}),
    }
}

fn problem_response() -> Value {
    json!({
        "description": "A refusal (RFC 9457); 429, 503 and 507 carry Retry-After",
        "content": content(problem::MEDIA_TYPE, "problem"),
    })
}

fn schemas() -> Value {
    let string = || json!({"type": "string"});
    let instant = || json!({"type": "string", "format": "date-time"});
    let or_null = |kind: &str| json!({"type": [kind, "null"]});
    let id = json!({"type": "object", "required": ["id"], "properties": {"id": string()}});
    let codes: Vec<&str> = problem::ALL.iter().map(|kind| kind.code).collect();
    json!({
        "accepted": {
            "type": "object",
            "description": "One command has `id` and `state`, a batch `commands` in the order of its lines.",
            "required": ["durability", "accepted_at"],
            "properties": {
                "id": string(),
                "state": {"const": "accepted"},
                "durability": {"const": "fsync"},
                "accepted_at": instant(),
                "commands": {"type": "array", "items": id},
            },
        },
        "status": {
            "type": "object",
            "required": ["id", "kind", "key", "state", "accepted_at", "sent_at", "kafka", "finished_at", "reason"],
            "properties": {
                "id": string(),
                "kind": string(),
                "key": or_null("string"),
                "state": {"enum": ["accepted", "sent", "applied", "rejected", "dead"]},
                "accepted_at": instant(),
                "sent_at": {"type": ["string", "null"], "format": "date-time"},
                "kafka": {"type": ["object", "null"], "properties": {
                    "topic": string(), "partition": {"type": "integer"}, "offset": {"type": "integer"},
                }},
                "finished_at": {"type": ["string", "null"], "format": "date-time"},
                "reason": or_null("string"),
            },
        },
        "problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "retryable", "trace_id"],
            "properties": {
                "type": string(),
                "title": string(),
                "status": {"type": "integer"},
                "detail": string(),
                "code": {"enum": codes},
                "field": string(),
                "retryable": {"type": "boolean"},
                "trace_id": string(),
                "errors": {"type": "array", "items": {"type": "object", "properties": {
                    "line": {"type": "integer"}, "pointer": string(), "detail": string(),
                }}},
            },
        },
    })
}
