//! `GET /openapi.json`, from the same tables that route and refuse.

mod answers;
mod requests;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::handler::Handler;
use crate::http::problem;
use crate::http::server::route::Route;
use crate::kinds::Kinds;

const JSON: &str = "application/json";
const ROLES: &str = "Roles: `self` is the user in the path, `admin` an administrator.";
const IDEMPOTENCY_KEY: &str = "1 to 255 printable ASCII characters, quoted or not. A repetition gets the first answer; \
                               another body is a conflict (422), or another request where the caller has no token.";

/// The description of a listener with these routes and kinds.
pub(super) fn describe<C: Send + Sync>(routes: &[Route<Handler<C>>], kinds: &Kinds, asks: bool) -> Bytes {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route, kinds, asks);
    }
    let mut schemas = answers::schemas();
    schemas.extend(requests::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    let description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "forebay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Create commands, durable on local disk before they are acknowledged.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"problem": problem_response()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": ROLES}},
        },
    });
    Bytes::from(description.to_string())
}

fn operation<C: Send + Sync>(route: &Route<Handler<C>>, kinds: &Kinds, asks: bool) -> Value {
    let is_write = route.usual == 202;
    let mut responses = Map::new();
    responses.insert(route.usual.to_string(), usual_response(route));
    responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/problem"}));
    let mut parameters: Vec<Value> = parameter(route, kinds).into_iter().collect();
    let mut operation = json!({"summary": route.summary});
    if is_write || route.answer == "status" {
        parameters.push(header("Prefer", "`wait=N` waits up to N seconds (at most 60) for a final state."));
    }
    if is_write {
        for (status, when) in waited(route) {
            let content = if status < 300 { content(JSON, "waited") } else { problem_content() };
            responses.insert(status.to_string(), json!({"description": when, "content": content}));
        }
        responses.insert("429".to_owned(), limited_response());
        let mut key = header("Idempotency-Key", IDEMPOTENCY_KEY);
        key["schema"]["pattern"] = json!("^[!#-~]([ -~]{0,253}[!-~])?$");
        parameters.push(key);
        parameters.push(header("traceparent", "W3C trace context, kept with the record."));
    }
    if route.answer == "users" {
        parameters.push(query(
            "limit",
            "How many; more than 1000 are 1000.",
            json!({"type": "integer", "minimum": 1}),
        ));
        parameters.push(query("cursor", "`next_cursor` of the page before.", json!({"type": "string"})));
    }
    if let Some(security) = security(route.endpoint.access(), asks) {
        operation["security"] = security;
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": request_content(body)});
    }
    operation["parameters"] = json!(parameters);
    operation["responses"] = json!(responses);
    operation
}

/// The tokens that a route takes, if it takes any. `asks`: whether it can require one; in open mode none is required.
fn security(access: Access, asks: bool) -> Option<Value> {
    let roles: &[&[&str]] = match access {
        Access::Public => return None,
        Access::Optional | Access::Authenticated => &[&[]],
        Access::SelfOrAdmin => &[&["self"], &["admin"]],
        Access::Admin => &[&["admin"]],
    };
    let mut security: Vec<Value> = roles.iter().map(|roles| json!({"bearer": roles})).collect();
    if access == Access::Optional || !asks {
        security.push(json!({}));
    }
    Some(Value::Array(security))
}

/// Answers after `Prefer: wait=N`.
fn waited<E>(route: &Route<E>) -> Vec<(u16, &'static str)> {
    match route.body {
        Some("new_user") => vec![
            (201, "After `Prefer: wait=N`: registered; `Location` is the user"),
            (409, "A name, e-mail or phone that somebody else has, now or when the registration was applied"),
        ],
        _ => vec![(200, "After `Prefer: wait=N`: the command's status, or `{\"commands\":[…]}` for a batch")],
    }
}

fn request_content(body: &str) -> Value {
    let mut one = content(JSON, body);
    if body == "command" {
        let lines = json!({"type": "string", "description": "One object a line; all or nothing"});
        one["application/x-ndjson"] = json!({"schema": lines});
    }
    one
}

/// The `{name}` in the path.
fn parameter<E>(route: &Route<E>, kinds: &Kinds) -> Option<Value> {
    let (_, name) = route.path.split_once('{')?;
    let (name, _) = name.split_once('}')?;
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

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn usual_response<E>(route: &Route<E>) -> Value {
    let content = content(JSON, route.answer);
    if route.usual != 202 {
        return json!({"description": "OK", "content": content});
    }
    json!({
        "description": "On stable storage",
        "headers": {
            "Location": {"description": "Where its status is", "schema": {"type": "string"}},
            "Idempotency-Replayed": {"description": "`true` on a repeat", "schema": {"type": "string"}},
        },
        "content": content,
    })
}

fn limited_response() -> Value {
    let seconds = json!({"description": "Seconds", "schema": {"type": "integer", "minimum": 1}});
    json!({
        "description": "More commands than the rate limit of this client allows; each line of a batch is one",
        "headers": {"Retry-After": seconds},
        "content": problem_content(),
    })
}

fn problem_response() -> Value {
    json!({
        "description": "A refusal (RFC 9457); 429, 503 and 507 carry Retry-After",
        "content": problem_content(),
    })
}

fn problem_content() -> Value {
    content(problem::MEDIA_TYPE, "problem")
}
