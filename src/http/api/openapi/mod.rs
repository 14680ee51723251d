//! The OpenAPI description (`GET /openapi.json`). It is generated from the tables that the daemon uses to route and
//! check requests.
//!
//! ```text
//! operation          one route as an operation: callers, parameters, body
//! responses          the responses of a route
//! kinds              the configured kinds, each with a path, a schema and an example
//! bodies             bodies and headers of a kind
//! schema_translator  translates JSON Schema for OpenAPI
//! requests           schemas of forms
//! response_schemas   schemas of response documents, from the serialised types
//! components         references to components
//! ```
//!
//! The description must pass Redocly's lint rules (`tests/openapi/run`).

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

/// The route that becomes one path per kind in the description. As a pattern, it would be the same path as the route
/// for statuses.
pub(super) const KIND_PATH: &str = "/v1/commands/{kind}";

const ROLES: &str = "A bearer token. Roles: `self` is the user in the path, `admin` is an administrator.";

/// Creates the description of a listener with these routes and kinds. `requires_token`: whether callers must
/// authenticate.
pub(super) fn describe<'a, C: Send + Sync + 'static>(
    routes: impl Iterator<Item = &'a Route<Handler<C>>>,
    kinds: &Kinds,
    requires_token: bool,
) -> Bytes {
    let kinds = kinds::described(kinds);
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, operation| {
        paths.entry(path).or_insert_with(|| json!({}))[method.to_ascii_lowercase()] = operation;
    };
    for route in routes {
        let access = route.endpoint.access();
        if route.path != KIND_PATH {
            add(route.path, route.method, operation::of_route(route, access, requires_token));
            continue;
        }
        for kind in &kinds {
            let path = route.path.replace("{kind}", kind.kind.name());
            add(&path, route.method, operation::of_kind(route, access, requires_token, kind));
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
        // Relative, so that it is the address from which the description was fetched, also behind a proxy.
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
        "description": "The daemon responds to a write (202) after it has flushed the write to its log, and delivers it to \
                        Kafka later. Errors are problem documents (RFC 9457). Clients should use `code` and `retryable`.",
        "contact": {"name": "forebay maintainers", "email": "maintainers@forebay.invalid"},
        "license": {"name": "Apache License 2.0", "identifier": env!("CARGO_PKG_LICENSE")},
    })
}
