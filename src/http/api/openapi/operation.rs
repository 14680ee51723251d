//! Describes one route as an OpenAPI operation.

use serde_json::{Value, json};

use super::components::content;
use super::kinds::DescribedKind;
use super::{bodies, requests, responses};
use crate::http::api::access::Access;
use crate::http::api::state::JSON;
use crate::http::server::route::Route;

const IDEMPOTENCY_KEY: &str = "1 to 255 printable ASCII characters, with or without quotes. A repeated request gets the \
                               first response. A different body is a conflict (422), except for callers without a \
                               token, where it is a different request.";
const WRITE: &str = "202 means that the command is on stable storage. It is sent to Kafka later. `Prefer: wait=N` waits \
                     for the final state.";
const COMMANDS: &str = "commands";
const USERS: &str = "users";
const LOGINS: &str = "logins";
const DAEMON: &str = "daemon";

/// The groups of operations.
pub fn tags() -> Value {
    let tag = |name: &str, description: &str| json!({"name": name, "description": description});
    json!([
        tag(COMMANDS, "Commands of the configured kinds, and the status of any command"),
        tag(USERS, "Users; changes of users are commands too"),
        tag(LOGINS, "Logins with name and password, and their tokens"),
        tag(DAEMON, "Health and description of the daemon"),
    ])
}

/// The operation of a route whose path is used unchanged.
pub fn of_route<E>(route: &Route<E>, access: Access, requires_token: bool) -> Value {
    let mut operation = common(route, access, requires_token);
    operation["operationId"] = json!(route.operation);
    operation["summary"] = json!(route.summary);
    operation["description"] = json!(remarks(route, access, requires_token));
    if let Some(body) = route.body {
        let mut content = content(JSON, body);
        content[JSON]["example"] = requests::example(body);
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

/// The operation for commands of a kind, with the name of the kind in its path.
pub fn of_kind<E>(route: &Route<E>, access: Access, requires_token: bool, kind: &DescribedKind<'_>) -> Value {
    let mut operation = common(route, access, requires_token);
    operation["operationId"] = json!(format!("{}_{}", route.operation, kind.identifier));
    operation["summary"] = json!(format!("{}: {}", route.summary, kind.kind.name()));
    operation["description"] =
        json!(format!("{} {}", kind.description(), remarks(route, access, requires_token)));
    let headers = bodies::headers(kind.kind).into_iter().map(|(name, description, required)| {
        let mut header = parameter("header", &name, &description, json!({"type": "string"}));
        header["required"] = json!(required);
        header
    });
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.extend(headers);
    }
    operation["requestBody"] = json!({"required": kind.needs_body(), "content": bodies::content(kind)});
    operation
}

/// The part of an operation that does not depend on the kind.
fn common<E>(route: &Route<E>, access: Access, requires_token: bool) -> Value {
    json!({
        "tags": [tag(route.path)],
        "security": security(access, requires_token),
        "parameters": parameters(route),
        "responses": responses::of(route, access),
    })
}

fn tag(path: &str) -> &'static str {
    match path {
        "/login" | "/refresh" | "/logout" => LOGINS,
        path if path.starts_with("/v1/commands") => COMMANDS,
        path if path.starts_with("/v1/users") => USERS,
        _ => DAEMON,
    }
}

fn remarks<E>(route: &Route<E>, access: Access, requires_token: bool) -> String {
    let callers = match access {
        Access::Public => "All callers may use it.",
        _ if !requires_token => "All callers may use it, because this daemon runs in mode `open`.",
        Access::Optional => "A token is not required, but an invalid token is refused.",
        Access::Authenticated => "Callers with a valid token may use it.",
        Access::SelfOrAdmin => "The user in the path and administrators may use it.",
        Access::Admin => "Administrators may use it.",
    };
    if route.is_write() { format!("{WRITE} {callers}") } else { callers.to_owned() }
}

/// The tokens that a route accepts. An empty list means that the route ignores tokens. `requires_token`: whether
/// callers must authenticate. In open mode they need not.
fn security(access: Access, requires_token: bool) -> Value {
    let roles: &[&[&str]] = match access {
        Access::Public => return json!([]),
        Access::Optional | Access::Authenticated => &[&[]],
        Access::SelfOrAdmin => &[&["self"], &["admin"]],
        Access::Admin => &[&["admin"]],
    };
    let mut security: Vec<Value> = roles.iter().map(|roles| json!({"bearer": roles})).collect();
    if access == Access::Optional || !requires_token {
        security.push(json!({}));
    }
    Value::Array(security)
}

fn parameters<E>(route: &Route<E>) -> Vec<Value> {
    let mut parameters: Vec<Value> = path_parameter(route.path).into_iter().collect();
    if route.is_write() || route.response_schema == "status" {
        let wait = "`wait=N` waits up to N seconds (at most 60) for a final state.";
        parameters.push(parameter("header", "Prefer", wait, json!({"type": "string"})));
    }
    if route.is_write() {
        let pattern = json!({"type": "string", "pattern": "^[!#-~]([ -~]{0,253}[!-~])?$"});
        parameters.push(parameter("header", "Idempotency-Key", IDEMPOTENCY_KEY, pattern));
        let trace = "W3C trace context, stored with the record.";
        parameters.push(parameter("header", "traceparent", trace, json!({"type": "string"})));
    }
    if route.response_schema == "users" {
        let limit = "Maximum number of users on the page. Values above 1000 are reduced to 1000.";
        parameters.push(parameter("query", "limit", limit, json!({"type": "integer", "minimum": 1})));
        let cursor = "`next_cursor` of the previous page.";
        parameters.push(parameter("query", "cursor", cursor, json!({"type": "string"})));
    }
    parameters
}

/// The `{name}` in the path. `None` for `{kind}`, because each kind has a path of its own.
fn path_parameter(path: &str) -> Option<Value> {
    let (_, name) = path.split_once('{')?;
    let (name, _) = name.split_once('}')?;
    let description = match name {
        "id" => "The id of the command.",
        "name" => "The name of the user.",
        "code" => "The `code` of a problem document.",
        _ => return None,
    };
    let mut parameter = parameter("path", name, description, json!({"type": "string"}));
    parameter["required"] = json!(true);
    Some(parameter)
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": place, "description": description, "schema": schema})
}
