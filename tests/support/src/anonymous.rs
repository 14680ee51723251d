//! The most expensive requests that a client without credentials can send, for each public route.

use std::io;

use serde_json::json;

use super::http::{Client, Response};

/// Maximum size of a user service request body, in bytes.
const MAX_FORM_BYTES: usize = 16 << 10;
/// Size of a long header value, in bytes: below the maximum of a request head, which has other headers too.
const LONG_HEADER: usize = 12 << 10;

/// Statements that no request waits for: background work of the daemon, and applying accepted commands.
const BACKGROUND_STATEMENTS: [&str; 23] = [
    "ping",
    "check",
    "begin",
    "commit",
    "forget",
    "known_outcomes",
    "parked",
    "users_for_update",
    "holders_of",
    "tombstones",
    "insert_users",
    "update_users",
    "delete_users",
    "put_tombstones",
    "put_extras",
    "insert_outcomes",
    "insert_audit",
    "park",
    "unpark",
    "last_logins",
    "merge_extras",
    "migrate",
    "secret",
];

/// Name and password of a user that exists.
pub const EXISTING_USER: (&str, &str) = ("known", "correct horse known");

/// Name of the only request that succeeds.
pub const NEW_USER: &str = "a new user";

/// A request that is created again for each use.
pub struct AnonymousRequest {
    /// Method and path, as in the table of routes.
    pub route: (&'static str, &'static str),
    /// Why it is expensive.
    pub what: &'static str,
    /// Maximum number of database statements that it may cause.
    pub statements: u64,
    request: fn(u64) -> Request,
}

struct Request {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl AnonymousRequest {
    /// Sends the request; `number` makes it differ from others.
    pub fn send(&self, http: &mut Client, number: u64) -> io::Result<Response> {
        let request = (self.request)(number);
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(request.headers.iter().map(|(name, value)| (*name, value.as_str())));
        http.request(self.route.0, &request.path, &headers, request.body.as_bytes())
    }
}

/// The expensive requests of every route, for a daemon that requires tokens.
pub fn anonymous_requests() -> Vec<AnonymousRequest> {
    let probe = |method, path, what, request| AnonymousRequest {
        route: (method, path),
        what,
        statements: 0,
        request,
    };
    let with_statements = |probe: AnonymousRequest, statements| AnonymousRequest { statements, ..probe };
    vec![
        probe("POST", "/v1/commands/{kind}", "64 KiB, no token", |_| {
            to("/v1/commands/order", filled(64 << 10))
        }),
        probe("POST", "/v1/commands/{kind}", "a token without a valid signature", |number| {
            with_token(to("/v1/commands/order", filled(64 << 10)), &forged(number))
        }),
        probe("GET", "/v1/commands/{id}", "an invented id", |number| {
            to(&format!("/v1/commands/{number:040}"), String::new())
        }),
        with_statements(probe("POST", "/v1/users", NEW_USER, |number| to("/v1/users", new_user(number))), 1),
        with_statements(probe("POST", "/v1/users", "a name that is taken", |_| to("/v1/users", taken())), 1),
        probe("POST", "/v1/users", "16 KiB of unknown members", |_| {
            to("/v1/users", unknown_members(MAX_FORM_BYTES))
        }),
        probe("POST", "/v1/users", "16 KiB of nesting", |_| to("/v1/users", nested(MAX_FORM_BYTES))),
        probe("POST", "/v1/users", "16 KiB in one member", |_| to("/v1/users", one_member(MAX_FORM_BYTES))),
        probe("POST", "/v1/users", "more than 16 KiB", |_| to("/v1/users", filled(MAX_FORM_BYTES + 1))),
        probe("GET", "/v1/users", "no token", |_| to("/v1/users?limit=1000", String::new())),
        probe("GET", "/v1/users/{name}", "no token", |_| to("/v1/users/known", String::new())),
        probe("GET", "/v1/users/{name}", "a token without a valid signature", |number| {
            with_token(to("/v1/users/known", String::new()), &forged(number))
        }),
        probe("GET", "/v1/users/{name}", "12 KiB of a token", |number| {
            with_token(to("/v1/users/known", String::new()), &format!("{number}{}", "x".repeat(LONG_HEADER)))
        }),
        probe("PUT", "/v1/users/{name}", "16 KiB, no token", |_| {
            to("/v1/users/known", unknown_members(MAX_FORM_BYTES))
        }),
        probe("PUT", "/v1/users/{name}/password", "16 KiB, no token", |_| {
            to("/v1/users/known/password", unknown_members(MAX_FORM_BYTES))
        }),
        probe("DELETE", "/v1/users/{name}", "no token", |_| to("/v1/users/known", String::new())),
        with_statements(
            probe("POST", "/login", "an unknown name", |number| {
                to("/login", credentials(&format!("nobody-{number}"), "wrong horse"))
            }),
            1,
        ),
        with_statements(
            probe("POST", "/login", "a wrong password", |number| {
                to("/login", credentials(EXISTING_USER.0, &format!("wrong horse {number}")))
            }),
            1,
        ),
        probe("POST", "/login", "16 KiB of unknown members", |_| {
            to("/login", unknown_members(MAX_FORM_BYTES))
        }),
        probe("POST", "/refresh", "a token without a valid signature", |number| {
            to("/refresh", refresh(&forged(number)))
        }),
        probe("POST", "/refresh", "12 KiB of a token", |_| to("/refresh", refresh(&"x".repeat(LONG_HEADER)))),
        probe("POST", "/logout", "a token without a valid signature", |number| {
            to("/logout", refresh(&forged(number)))
        }),
        probe("POST", "/logout", "12 KiB of a token", |_| to("/logout", refresh(&"x".repeat(LONG_HEADER)))),
        probe("GET", "/openapi.json", "as it is", |_| to("/openapi.json", String::new())),
        probe("GET", "/errors/{code}", "a code", |_| to("/errors/queue_full", String::new())),
        probe("GET", "/errors/{code}", "an invented code", |number| {
            to(&format!("/errors/invented_{number}"), String::new())
        }),
        probe("GET", "/healthz", "as it is", |_| to("/healthz", String::new())),
        probe("GET", "/readyz", "as it is", |_| to("/readyz", String::new())),
    ]
}

/// Database statements that requests have caused so far, from the text of all metrics.
pub fn statements(metrics: &str) -> u64 {
    let counts = metrics.lines().filter_map(|line| line.strip_prefix("db_query_seconds_count{query=\""));
    counts
        .filter(|count| BACKGROUND_STATEMENTS.iter().all(|query| !count.starts_with(&format!("{query}\""))))
        .filter_map(|count| count.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn to(path: &str, body: String) -> Request {
    Request { path: path.to_owned(), headers: Vec::new(), body }
}

fn with_token(mut request: Request, token: &str) -> Request {
    request.headers.push(("Authorization", format!("Bearer {token}")));
    request
}

/// An invalid token in the form of forebay's tokens, with another content each time.
fn forged(number: u64) -> String {
    let part = |value: serde_json::Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let claims =
        json!({"sub": "root", "iss": "forebay", "aud": "forebay", "exp": 4_000_000_000_u64, "jti": number});
    format!("{}.{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims), "x".repeat(43))
}

fn credentials(name: &str, password: &str) -> String {
    json!({"name": name, "password": password}).to_string()
}

fn refresh(token: &str) -> String {
    json!({"refresh_token": token}).to_string()
}

fn new_user(number: u64) -> String {
    json!({
        "name": format!("anonymous-{number}"),
        "email": format!("anonymous-{number}@example.org"),
        "phone": format!("+4917{number:08}"),
        "password": format!("correct horse {number}"),
    })
    .to_string()
}

fn taken() -> String {
    json!({"name": EXISTING_USER.0, "email": "other@example.org", "phone": "+491700000001", "password": "correct horse other"}).to_string()
}

fn filled(bytes: usize) -> String {
    format!("{{{}}}", " ".repeat(bytes - 2))
}

fn unknown_members(bytes: usize) -> String {
    let mut members = String::new();
    for number in 0.. {
        let member = format!("\"{number:x}\":0,");
        if members.len() + member.len() + 2 > bytes {
            break;
        }
        members.push_str(&member);
    }
    format!("{{{}}}", members.trim_end_matches(','))
}

fn nested(bytes: usize) -> String {
    format!("{{\"name\":{}{}}}", "[".repeat(bytes / 2 - 5), "]".repeat(bytes / 2 - 5))
}

fn one_member(bytes: usize) -> String {
    format!("{{\"name\":\"{}\"}}", "é".repeat((bytes - 11) / 2))
}
