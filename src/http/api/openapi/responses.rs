//! Describes the responses of a route.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::components::{RESPONSES, content, reference};
use crate::http::api::access::Access;
use crate::http::api::state::JSON;
use crate::http::problem;
use crate::http::server::route::Route;

/// The schema name of a response in plain text.
const TEXT: &str = "text";

/// Error responses by the name of their component.
pub fn components() -> Map<String, Value> {
    let statuses: BTreeSet<u16> = problem::ALL.iter().map(|kind| kind.status).collect();
    let mut components: Map<String, Value> =
        statuses.into_iter().map(|status| (component(status), refusal(status))).collect();
    let any = json!({
        "description": "Any other error (RFC 9457)",
        "content": content(problem::MEDIA_TYPE, "problem"),
    });
    components.insert("problem".to_owned(), any);
    components
}

/// The responses of a route: success, success after a wait, and errors.
pub fn of<E>(route: &Route<E>, access: Access) -> Map<String, Value> {
    let mut responses = Map::new();
    let mut add = |status: u16, response| responses.insert(status.to_string(), response);
    for status in refusals(route, access) {
        add(status, json!({"$ref": format!("{RESPONSES}{}", component(status))}));
    }
    add(route.success_status, usual(route));
    match route.body {
        _ if !route.is_write() => {}
        Some("command") => {
            let finals = json!({"oneOf": [reference("final_status"), reference("final_batch")]});
            let when = "After `Prefer: wait=N`: the final status; for a batch, one status per line";
            add(200, waited(when, finals));
        }
        Some("new_user") => {
            let mut registered =
                waited("After `Prefer: wait=N`: the user is registered", reference("registered"));
            registered["headers"]["Location"] = header("Path of the user");
            add(201, registered);
        }
        _ => {
            add(200, waited("After `Prefer: wait=N`: the final status", reference("user_final_status")));
        }
    }
    if route.response_schema == "readiness" {
        let mut unready =
            json!({"description": "The daemon refuses commands", "content": content(JSON, "readiness")});
        unready["headers"] = json!({"Retry-After": retry_after()});
        add(503, unready);
    }
    responses.insert("default".to_owned(), json!({"$ref": format!("{RESPONSES}problem")}));
    responses
}

/// Statuses of errors that a client of the route must expect. `default` covers the others, such as 431.
fn refusals<E>(route: &Route<E>, access: Access) -> BTreeSet<u16> {
    // A malformed head, or an unknown name in `Host`.
    let mut statuses = BTreeSet::from([400, 421]);
    if route.method != "GET" {
        // A web page of another origin.
        statuses.insert(403);
    }
    if route.body.is_some() {
        statuses.extend([408, 413, 415, 422]);
    }
    match access {
        Access::Public => {}
        Access::Optional | Access::Authenticated => statuses.extend([401]),
        Access::SelfOrAdmin | Access::Admin => statuses.extend([401, 403, 404]),
    }
    match route.response_schema {
        // 422: the idempotency key was used with a different body. 404: no such kind, or no user service.
        "accepted" => statuses.extend([404, 422, 429, 503, 507]),
        "status" => statuses.extend([404, 503]),
        "tokens" => statuses.extend([401, 404, 429, 503]),
        "users" | "user" => statuses.extend([404, 503]),
        // No such code.
        TEXT => statuses.extend([404]),
        _ if access == Access::Optional => statuses.extend([404, 503]),
        _ => {}
    }
    if matches!(route.body, Some("new_user" | "change")) {
        statuses.insert(409);
    }
    statuses
}

fn usual<E>(route: &Route<E>) -> Value {
    if route.response_schema == TEXT {
        return json!({"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}});
    }
    if !route.is_write() {
        return json!({"description": "OK", "content": content(JSON, route.response_schema)});
    }
    let mut accepted = content(JSON, route.response_schema);
    if route.body == Some("command") {
        accepted[JSON]["schema"] = json!({"oneOf": [reference("accepted"), reference("accepted_batch")]});
    }
    let mut headers = write_headers();
    headers["Location"] = header("Path of the command's status. Absent for a batch");
    json!({"description": "On stable storage", "headers": headers, "content": accepted})
}

fn waited(description: &str, schema: Value) -> Value {
    json!({"description": description, "headers": write_headers(), "content": {JSON: {"schema": schema}}})
}

fn write_headers() -> Value {
    json!({
        "Idempotency-Replayed": header("`true` if the response repeats the first one"),
        "Preference-Applied": header("The preferences in `Prefer` that were applied"),
    })
}

fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

fn retry_after() -> Value {
    json!({"description": "Seconds until a retry is useful", "schema": {"type": "integer", "minimum": 1}})
}

fn component(status: u16) -> String {
    format!("problem_{status}")
}

/// The error response with this status. Its description lists the problem codes.
fn refusal(status: u16) -> Value {
    let kinds = problem::ALL.iter().filter(|kind| kind.status == status);
    let causes: Vec<String> = kinds.map(|kind| format!("`{}`: {}", kind.code, kind.title)).collect();
    let mut refusal = json!({
        "description": causes.join("; "),
        "content": content(problem::MEDIA_TYPE, "problem"),
    });
    match status {
        401 => {
            refusal["headers"] =
                json!({"WWW-Authenticate": header("`Bearer`, and whether the token was invalid")})
        }
        429 | 503 | 507 => refusal["headers"] = json!({"Retry-After": retry_after()}),
        _ => {}
    }
    refusal
}
