//! Authorisation of each route. The daemon, its API description and the table below must agree, so that no route is
//! added without an entry.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::accounts::{Tokens, call, guarded, registered};
use support::http::{Client, Response};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Public,
    Optional,
    Authenticated,
    SelfOrAdmin,
    Admin,
}

use Access::*;

const ROUTES: [(&str, &str, Access); 15] = [
    ("post", "/v1/commands/order.create", Authenticated),
    ("get", "/v1/commands/{id}", Optional),
    ("post", "/v1/users", Optional),
    ("get", "/v1/users", Admin),
    ("get", "/v1/users/{name}", SelfOrAdmin),
    ("put", "/v1/users/{name}", SelfOrAdmin),
    ("put", "/v1/users/{name}/password", SelfOrAdmin),
    ("delete", "/v1/users/{name}", Admin),
    ("post", "/login", Public),
    ("post", "/refresh", Public),
    ("post", "/logout", Optional),
    ("get", "/openapi.json", Public),
    ("get", "/errors/{code}", Public),
    ("get", "/healthz", Public),
    ("get", "/readyz", Public),
];

impl Access {
    fn described(self) -> Value {
        match self {
            Public => json!([]),
            Optional => json!([{"bearer": []}, {}]),
            Authenticated => json!([{"bearer": []}]),
            SelfOrAdmin => json!([{"bearer": ["self"]}, {"bearer": ["admin"]}]),
            Admin => json!([{"bearer": ["admin"]}]),
        }
    }
}

/// Each operation with the callers that its description permits.
fn described(http: &mut Client) -> BTreeMap<(String, String), Value> {
    let description = http.get("/openapi.json").unwrap().json();
    let paths = description["paths"].as_object().unwrap().clone();
    let operations = paths.into_iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().clone();
        operations.into_iter().map(move |(method, operation)| ((method, path.clone()), operation))
    });
    operations.map(|(route, operation)| (route, operation["security"].clone())).collect()
}

/// The code of an authorisation error.
fn refusal(answer: &Response) -> Option<String> {
    matches!(answer.status, 401 | 403).then(|| answer.json()["code"].as_str().unwrap().to_owned())
}

#[test]
fn every_route_rejects_the_callers_its_description_excludes() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    registered(http, 2);
    let expected =
        ROUTES.map(|(method, path, access)| ((method.to_owned(), path.to_owned()), access.described()));
    assert_eq!(described(http), BTreeMap::from(expected));
    for (method, path, access) in ROUTES {
        let method = &method.to_uppercase();
        let path_of = |name: &str| {
            path.replace("{name}", name).replace("{id}", "unknown").replace("{code}", "queue_full")
        };
        let path = &path_of("user-1");
        // A body that no route accepts: a permitted call has no effect.
        let body = if method == "POST" || method == "PUT" { "[]" } else { "" };
        let what = |caller: &str| format!("{method} {path} by {caller}");

        let json_type = [("Content-Type", "application/json")];
        let without = http.request(method, path, &json_type, body.as_bytes()).unwrap();
        let expected = (access >= Authenticated).then_some("unauthenticated");
        assert_eq!(refusal(&without).as_deref(), expected, "{}", what("nobody"));

        let wrong = call(http, "wrong.wrong.wrong", method, path, body);
        let expected = (access >= Optional).then_some("invalid_token");
        assert_eq!(refusal(&wrong).as_deref(), expected, "{}", what("a wrong token"));

        // New tokens for each route, because one of the routes is logout.
        let token = Tokens::of_user(http, 2).access;
        let others = call(http, &token, method, path, body);
        let expected = (access >= SelfOrAdmin).then_some("forbidden");
        assert_eq!(refusal(&others).as_deref(), expected, "{}", what("another user"));

        let token = Tokens::of_user(http, 1).access;
        let own = call(http, &token, method, path, body);
        let expected = (access >= Admin).then_some("forbidden");
        assert_eq!(refusal(&own).as_deref(), expected, "{}", what("the user"));

        let token = Tokens::of_admin(http).access;
        let admins = call(http, &token, method, &path_of("nobody"), body);
        assert_eq!(refusal(&admins), None, "{}", what("an administrator"));
    }
}
