//! Users to be registered, and requests for them.

use serde_json::{Value, json};

use support::admin::Admin;
use support::daemon::LONG;
use support::http::{Client, Response};
use support::process::Forebay;
use support::{daemon, wait};

/// A user with unique name, e-mail and phone.
pub fn new_user(number: usize) -> Value {
    json!({
        "name": format!("user-{number}"),
        "email": format!("user-{number}@example.org"),
        "phone": format!("+49170{number:07}"),
        "password": format!("correct horse {number}"),
    })
}

/// `POST /v1/users`.
pub fn register(http: &mut Client, user: &Value) -> Response {
    retry_on_timeout(|| register_once(http, user))
}

/// `POST /v1/users` without a retry after a timeout.
pub fn register_once(http: &mut Client, user: &Value) -> Response {
    http.post("/v1/users", &user.to_string()).expect("an answer")
}

/// `POST /v1/users` that waits for the outcome.
pub fn register_and_wait(http: &mut Client, user: &Value) -> Response {
    write(http, "POST", "/v1/users", &user.to_string())
}

/// A write that waits for its outcome.
pub fn write(http: &mut Client, method: &str, path: &str, body: &str) -> Response {
    let headers = [("Content-Type", "application/json"), ("Prefer", "wait=30")];
    retry_on_timeout(|| http.request(method, path, &headers, body.as_bytes()).expect("an answer"))
}

/// Repeats a request whose checks exceeded their timeout: 50 ms may be too short on a machine that runs a build.
/// Clients do the same.
pub fn retry_on_timeout(mut ask: impl FnMut() -> Response) -> Response {
    wait::until("the checks finish in time", LONG, || {
        let answer = ask();
        let hurried = ["markers_unavailable", "database_unavailable"];
        let again =
            answer.status == 503 && hurried.contains(&answer.json()["code"].as_str().unwrap_or_default());
        (!again).then_some(answer)
    })
}

/// A daemon with embedded parts and a low password cost.
pub fn embedded() -> Forebay {
    daemon::under_test().set("users.password_cost", 4)
}

/// The same for a test with authentication, which an embedded broker excludes: it uses the broker of another daemon,
/// which lives as long.
pub fn on_shared_broker() -> Forebay {
    // A separate group, because both consumers must read everything.
    let mut lender = embedded().set("consumer.group", "lender");
    lender.start();
    let bootstrap = daemon::embedded_broker(&lender);
    let admin = Admin::new(&bootstrap);
    // An embedded broker allows no other process to create topics.
    wait::until_true("the lender's consumer made the topics", LONG, || {
        let topics = admin.topics();
        ["user.commands.v1", "user.dead.v1", "user.retry.v1"]
            .iter()
            .all(|needed| topics.iter().any(|topic| topic == needed))
    });
    embedded()
        .set("kafka.brokers", bootstrap)
        .set("users.enabled", true)
        .set("consumer.enabled", true)
        .with_companion(lender)
}

/// Asserts the status and, for a rejection, the code; returns the document.
pub fn expect(answer: &Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    let document = answer.json();
    if status >= 400 {
        assert_eq!(document["code"], code, "{document}");
    }
    document
}
