//! Requests and daemons of these tests.

use std::process::Command;

use serde_json::Value;

use crate::daemon::LONG;
use support::child::Child;
use support::http::{Client, Response};
use support::process::Forebay;
use support::{services, wait};

/// An address without a listener: brokers that are unavailable.
pub const NO_KAFKA: &str = "127.0.0.1:9";

/// Path of `order.create`.
pub const ORDERS: &str = "/v1/commands/order.create";

/// A daemon with small segments and frequent maintenance, on the embedded broker, with `order.create` and its schema.
pub fn daemon() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
        .set("wal.segment_size", "4MiB")
        .set("wal.reserve_space", "1MiB")
        .set("drain.checkpoint_interval", "50ms")
}

/// The same daemon on real brokers, with its commands in `topic`.
pub fn daemon_on(bootstrap: &str, topic: &str) -> Forebay {
    daemon().set("kafka.brokers", bootstrap).toml(&crate::daemon::kind("order.create", topic))
}

/// The body of an order.
pub fn order(id: &str) -> String {
    format!(r#"{{"id":"{id}","key":"{id}","amount":1}}"#)
}

/// An order with `bytes` additional bytes.
pub fn filled(order: &str, bytes: usize) -> String {
    order.replace("1}", &format!("1,\"x\":\"{}\"}}", "y".repeat(bytes)))
}

/// Sends one command with an `Idempotency-Key`.
pub fn keyed(http: &mut Client, kind: &str, key: &str, body: &str) -> Response {
    let path = format!("/v1/commands/{kind}");
    http.request("POST", &path, &[("Idempotency-Key", key)], body.as_bytes()).expect("an answer")
}

/// Sends a batch with additional headers.
pub fn batch(http: &mut Client, headers: &[(&str, &str)], lines: &str) -> Response {
    let headers = [&[("Content-Type", "application/x-ndjson")], headers].concat();
    http.request("POST", ORDERS, &headers, lines.as_bytes()).expect("an answer")
}

/// Sends a registration until it is answered: on a busy machine its checks may exceed their timeout.
pub fn register(http: &mut Client, person: &str) -> Response {
    wait::until("a registration is answered", LONG, || {
        let answer = http.post("/v1/users", person).unwrap();
        (answer.status != 503).then_some(answer)
    })
}

/// The id in the 202 of a single command.
pub fn id(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// The ids in the 202 of a batch.
pub fn ids(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let document = answer.json();
    let commands = document["commands"].as_array().expect("commands");
    commands.iter().map(|command| command["id"].as_str().expect("an id").to_owned()).collect()
}

/// Whether the response repeats an earlier one.
pub fn is_replay(answer: &Response) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// Status and code of a rejection. Checks `Retry-After` where it is required.
pub fn refusal(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let retry_after = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().expect("seconds"));
    assert_eq!(retry_after.is_some_and(|seconds| seconds > 0), matches!(answer.status, 503 | 507));
    (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
}

/// The response of `GET /v1/commands/{id}`.
pub fn status(http: &mut Client, id: &str) -> Response {
    http.get(&format!("/v1/commands/{id}")).expect("an answer")
}

/// Waits until the status is `sent`, and returns it.
pub fn await_sent(http: &mut Client, id: &str) -> Value {
    wait::until("the command is sent", LONG, || {
        let answer = status(http, id);
        assert_eq!(answer.status, 200, "{}", answer.text());
        Some(answer.json()).filter(|status| status["state"] == "sent")
    })
}

/// Whether flushes can be slowed down on this machine; if not, the test is skipped.
pub fn has_strace(test: &str) -> bool {
    let found = Command::new("strace").arg("--version").output().map_err(|error| error.to_string());
    services::available(test, "strace", found).is_some()
}

/// Delays every flush of the commit thread by a second until the returned process is dropped.
pub fn slow_flushes(forebay: &mut Forebay) -> Child {
    let thread = forebay.thread("commit");
    let mut command = Command::new("strace");
    command.args([
        "-p",
        &thread.to_string(),
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:delay_enter=1000000",
    ]);
    let child = Child::spawn("strace", &command, &forebay.dir().join("strace"));
    wait::until_true("strace is attached", LONG, || child.log().contains("attached"));
    child
}
