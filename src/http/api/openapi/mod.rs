//! `GET /openapi.json`, from the same tables that route and refuse.
//!
//! ```text
//! operation   one route: who may call it, what it takes; responses: what it answers
//! kinds       the configured kinds, each with a path, a schema and an example; dialect: JSON Schema as OpenAPI has it
//! requests    bodies; answers: documents, by the types that are serialised
//! ```
//!
//! Redocly's rules for OpenAPI apply to it (`tests/openapi/run`).

mod bodies;
mod components;
mod kinds;
mod operation;
mod requests;
mod response_schemas;
mod responses;
mod schema_translator;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::handler::Handler;
use crate::http::server::route::Route;
use crate::kinds::Kinds;

use components::{RESPONSES, SCHEMAS, remove_unused};

/// The route that stands for one path per kind. As a pattern it would be the same path as that of statuses.
pub(super) const KIND_PATH: &str = "/v1/commands/{kind}";

const ROLES: &str = "A token. Roles: `self` is the user in the path, `admin` an administrator.";

/// The description of a listener with these routes and kinds. `asks`: whether callers have to say who they are.
pub(super) fn describe<'a, C: Send + Sync + 'static>(
    routes: impl Iterator<Item = &'a Route<Handler<C>>>,
    kinds: &Kinds,
    asks: bool,
) -> Bytes {
    let kinds = kinds::described(kinds);
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, operation| {
        paths.entry(path).or_insert_with(|| json!({}))[method.to_ascii_lowercase()] = operation;
    };
    for route in routes {
        let access = route.endpoint.access();
        if route.path != KIND_PATH {
            add(route.path, route.method, operation::of_route(route, access, asks));
            continue;
        }
        for kind in &kinds {
            let path = route.path.replace("{kind}", kind.kind.name());
            add(&path, route.method, operation::of_kind(route, access, asks, kind));
        }
    }
    let mut schemas = response_schemas::schemas();
    schemas.extend(requests::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(kinds.iter().flat_map(kinds::DescribedKind::schemas));
    let mut responses = responses::components();
    remove_unused(&mut responses, RESPONSES, &[&paths]);
    remove_unused(&mut schemas, SCHEMAS, &[&paths, &responses]);
    let description = json!({
        "openapi": "3.1.0",
        "info": info(),
        // The address that the description was fetched from, whatever proxy is in front of it.
        "servers": [{"url": "/", "description": "This daemon"}],
        "tags": operation::tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": ROLES}},
        },
    });
    Bytes::from(description.to_string())
}

fn info() -> Value {
    json!({
        "title": "forebay",
        "summary": "Create commands, durable on local disk before they are acknowledged",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Every write is answered after it was flushed to the log of the daemon (202), and is delivered to Kafka \
                        later. Errors are problem documents (RFC 9457): decide by `code` and `retryable`.",
        "contact": {"name": "forebay maintainers", "email": "maintainers@forebay.invalid"},
        "license": {"name": "Apache License 2.0", "identifier": env!("CARGO_PKG_LICENSE")},
    })
}
