//! Responses to a client that exceeds a limit.

use super::fixture::{ORDERS, accepted, assert_limited, forebay};
use support::daemon::metric;
use support::http::{Connection, Response};
use support::process::Forebay;
use support::{daemon, services};

fn batch(daemon: &Forebay, lines: usize) -> Response {
    let body = "{\"id\":\"o-1\",\"amount\":1}\n".repeat(lines);
    let headers = [("Content-Type", "application/x-ndjson")];
    daemon.http().request("POST", ORDERS, &headers, body.as_bytes()).unwrap()
}

fn appended(daemon: &Forebay) -> f64 {
    metric(daemon, "forebay_wal_append_total")
}

#[test]
fn a_batch_counts_its_lines_and_passes_whole() {
    let Some(starter) = services::redis("a_batch_counts_its_lines_and_passes_whole") else { return };
    let server = starter.start();
    let mut daemon = forebay(&server.url(), 100);
    daemon.start();
    assert_eq!(batch(&daemon, 60).status, 202);
    assert_limited(&batch(&daemon, 60));
    assert_eq!(appended(&daemon), 60.0, "no line of it");
    // The refused batch cost one permit.
    assert_eq!(batch(&daemon, 39).status, 202);
    assert_limited(&batch(&daemon, 1));
    // A retry would not help.
    let unused = starter.start();
    let mut fresh = forebay(&unused.url(), 50);
    fresh.start();
    let answer = batch(&fresh, 51);
    assert_eq!((answer.status, &answer.json()["retryable"]), (413, &false.into()), "{}", answer.text());
}

#[test]
fn a_limited_request_is_refused_before_its_body() {
    let Some(starter) = services::redis("a_limited_request_is_refused_before_its_body") else { return };
    let server = starter.start();
    let mut daemon = forebay(&server.url(), 3).set("users.enabled", true);
    daemon.start();
    assert_eq!(accepted(&mut daemon.http(), 3), 3);
    let requests = [
        ("POST", ORDERS),
        ("POST", "/v1/users"),
        ("PUT", "/v1/users/ada"),
        ("PUT", "/v1/users/ada/password"),
        ("DELETE", "/v1/users/ada"),
    ];
    for (method, path) in requests {
        let mut connection = Connection::open(&daemon.address()).unwrap();
        let length = if method == "DELETE" { 0 } else { 50_000 };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        // The body never arrives.
        assert_limited(&connection.receive(method).unwrap());
    }
    assert_eq!(metric(&daemon, "forebay_ratelimit_rejected_total{limiter=\"write\"}"), 5.0);
    // Reads are not limited.
    assert_eq!(daemon.http().get("/v1/users/ada").unwrap().status, 404);
    assert_eq!(daemon.http().get("/readyz").unwrap().status, 200);
}

#[test]
fn a_single_daemon_limits_with_its_embedded_store() {
    let mut daemon =
        daemon::under_test().set("rate_limit.write_limit", 7).set("rate_limit.write_window", "1day");
    daemon.start();
    assert_eq!(accepted(&mut daemon.http(), 20), 7);
    assert_eq!(metric(&daemon, "forebay_ratelimit_fallback"), 0.0);
    daemon.restart();
    assert_eq!(accepted(&mut daemon.http(), 20), 0, "the count survives");
}
