//! Requests and daemons as these tests use them.

use std::process::Command;

use serde_json::Value;

use crate::daemon::LONG;
use support::child::Child;
use support::http::{Client, Response};
use support::process::Forebay;
use support::{services, wait};

/// Where nobody listens: Kafka is away for as long as a daemon has this for its brokers.
pub const NO_KAFKA: &str = "127.0.0.1:9";

/// Where `order.create` is accepted.
pub const ORDERS: &str = "/v1/commands/order.create";

/// A daemon with small segments that keeps house often. On the embedded broker, with `order.create` and its schema.
pub fn daemon() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
        .set("wal.segment_size", "4MiB")
        .set("wal.reserve_space", "1MiB")
        .set("drain.checkpoint_interval", "50ms")
}

/// The same on real brokers, its commands in a topic of its own.
pub fn daemon_on(bootstrap: &str, topic: &str) -> Forebay {
    daemon().set("kafka.brokers", bootstrap).toml(&crate::daemon::kind("order.create", topic))
}

/// The body of an order.
pub fn order(id: &str) -> String {
    format!(r#"{{"id":"{id}","key":"{id}","amount":1}}"#)
}

/// The same with so many bytes more.
pub fn filled(order: &str, bytes: usize) -> String {
    order.replace("1}", &format!("1,\"x\":\"{}\"}}", "y".repeat(bytes)))
}

/// One command with an `Idempotency-Key`.
pub fn keyed(http: &mut Client, kind: &str, key: &str, body: &str) -> Response {
    let path = format!("/v1/commands/{kind}");
    http.request("POST", &path, &[("Idempotency-Key", key)], body.as_bytes()).expect("an answer")
}

/// A batch, with more headers.
pub fn batch(http: &mut Client, headers: &[(&str, &str)], lines: &str) -> Response {
    let headers = [&[("Content-Type", "application/x-ndjson")], headers].concat();
    http.request("POST", ORDERS, &headers, lines.as_bytes()).expect("an answer")
}

/// The answer to a registration, once there is one: on a busy machine its checks may take longer than they are given.
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

/// Whether the answer is an earlier one's again.
pub fn is_replay(answer: &Response) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// Status and code of a refusal, which says when to come back if that helps.
pub fn refusal(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let retry_after = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().expect("seconds"));
    assert_eq!(retry_after.is_some_and(|seconds| seconds > 0), matches!(answer.status, 503 | 507));
    (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
}

/// What `GET /v1/commands/{id}` answers.
pub fn status(http: &mut Client, id: &str) -> Response {
    http.get(&format!("/v1/commands/{id}")).expect("an answer")
}

/// The status once it is `sent`.
pub fn await_sent(http: &mut Client, id: &str) -> Value {
    wait::until("the command is sent", LONG, || {
        let answer = status(http, id);
        assert_eq!(answer.status, 200, "{}", answer.text());
        Some(answer.json()).filter(|status| status["state"] == "sent")
    })
}

/// Whether flushes can be slowed down here; if not, the test leaves itself out.
pub fn has_strace(test: &str) -> bool {
    let found = Command::new("strace").arg("--version").output().map_err(|error| error.to_string());
    services::available(test, "strace", found).is_some()
}

/// Holds every flush of the commit thread back by a second, until the answer is dropped.
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
