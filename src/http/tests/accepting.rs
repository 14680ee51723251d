use super::fixture::{FakeLog, serve, serve_with};
use crate::ingest::SubmitError;
use crate::units::ByteSize;

const ORDER: &str = r#"{"id":"o-1","amount":12}"#;
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

#[tokio::test]
async fn accepted_order_gets_the_documented_response() {
    let server = serve().await;
    let reply = server.connect().await.order("Content-Type: application/json\r\n", ORDER).await;
    let id = FakeLog::id(0);
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("location"), Some(&*format!("/v1/commands/{id}")));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("idempotency-replayed"), None);
    let accepted = r#""state":"accepted","durability":"fsync","accepted_at":"2026-11-20T12:00:00.123Z"}"#;
    assert_eq!(reply.body, format!(r#"{{"id":"{id}",{accepted}"#));

    let submitted = server.log.submitted().remove(0);
    let command = &submitted.commands[0];
    assert_eq!((&*command.kind, &*command.topic), ("order.create", "orders.v1"));
    assert_eq!(command.key.as_deref(), Some(&b"o-1"[..]));
    assert_eq!((&*command.content_type, &command.value[..]), ("application/json", ORDER.as_bytes()));
    assert!(
        submitted.idempotency.is_none() && submitted.principal.is_none() && submitted.traceparent.is_none()
    );
}

#[tokio::test]
async fn default_content_types_of_clients_mean_json() {
    let server = serve().await;
    let mut client = server.connect().await;
    for headers in [
        "",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=utf-8\r\n",
    ] {
        assert_eq!(client.order(headers, ORDER).await.status, 202, "{headers}");
    }
    let types: Vec<_> = server.log.submitted().iter().map(|r| r.commands[0].content_type.clone()).collect();
    assert_eq!(types.iter().map(|t| &**t).collect::<Vec<_>>(), ["application/json"; 3]);
}

#[tokio::test]
async fn chunked_body_is_reassembled() {
    let server = serve().await;
    let mut client = server.connect().await;
    client
        .send("POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in [&ORDER[..5], &ORDER[5..]] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        tokio::task::yield_now().await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 202);
    assert_eq!(&server.log.submitted()[0].commands[0].value[..], ORDER.as_bytes());
}

#[tokio::test]
async fn idempotency_key_reaches_the_log_and_replays_are_marked() {
    let server = serve().await;
    server.log.replay();
    let reply = server.connect().await.order("Idempotency-Key: \"k-1\"\r\n", ORDER).await;
    assert_eq!((reply.status, reply.header("idempotency-replayed")), (202, Some("true")));
    let idempotency = server.log.submitted().remove(0).idempotency.unwrap();
    assert_eq!((&*idempotency.key, &idempotency.body[..]), ("k-1", ORDER.as_bytes()));
}

#[tokio::test]
async fn batch_is_one_request_in_line_order() {
    let server = serve().await;
    let body = "{\"id\":\"a\",\"amount\":1}\r\n{\"id\":\"b\",\"amount\":2}\n{\"id\":\"a\",\"amount\":3}\n";
    let headers = format!("{NDJSON}Idempotency-Key: b-1\r\n");
    let reply = server.connect().await.order(&headers, body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.header("location"), None);
    let ids: Vec<_> = (0..3).map(|n| serde_json::json!({"id": FakeLog::id(n).to_string()})).collect();
    assert_eq!(
        reply.json(),
        serde_json::json!({"durability":"fsync","accepted_at":"2026-11-20T12:00:00.123Z","commands":ids})
    );
    let submitted = server.log.submitted();
    assert_eq!(submitted.len(), 1);
    let values: Vec<_> =
        submitted[0].commands.iter().map(|c| String::from_utf8(c.value.to_vec()).unwrap()).collect();
    assert_eq!(values[0], r#"{"id":"a","amount":1}"#, "without its line end");
    assert_eq!(values[2], r#"{"id":"a","amount":3}"#);
    assert_eq!(&submitted[0].idempotency.as_ref().unwrap().body[..], body.as_bytes());
}

#[tokio::test]
async fn batch_of_one_line_gets_a_batch_response() {
    let server = serve().await;
    let reply = server.connect().await.order(NDJSON, ORDER).await;
    assert_eq!(reply.json()["commands"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn batch_may_have_at_most_10_000_lines() {
    let server = serve().await;
    let mut client = server.connect().await;
    let line = "{\"id\":\"a\",\"amount\":1}\n";
    client.order(NDJSON, line.repeat(10_001)).await.assert_problem(413, "too_many_lines");
    server.assert_nothing_submitted();
    server.log.refuse(SubmitError::QueueFull);
    client.order(NDJSON, line.repeat(10_000)).await.assert_problem(503, "queue_full");
}

#[tokio::test]
async fn trace_and_request_id_are_used_and_returned() {
    let server = serve().await;
    let mut client = server.connect().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = client.order(&format!("traceparent: {trace}\r\nX-Request-Id: r-1\r\n"), ORDER).await;
    assert_eq!(reply.header("x-request-id"), Some("r-1"));
    assert_eq!(server.log.submitted()[0].traceparent.as_deref(), Some(trace));
    let refused = client.order(&format!("traceparent: {trace}\r\n"), "{").await;
    assert_eq!(refused.json()["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let first = client.order("traceparent: nonsense\r\nX-Request-Id: not sane\r\n", ORDER).await;
    let second = client.order("", ORDER).await;
    assert_eq!(first.header("x-request-id").unwrap().len(), 32);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(server.log.submitted()[1].traceparent, None);
}

#[tokio::test]
async fn each_submit_error_has_a_status_and_code() {
    let server = serve().await;
    let mut client = server.connect().await;
    for (error, status, code, retryable) in [
        (SubmitError::QueueFull, 503, "queue_full", true),
        (SubmitError::BacklogFull { limit: 5 }, 503, "backlog_full", true),
        (SubmitError::DiskFull, 507, "disk_full", true),
        (SubmitError::SegmentNotReady, 503, "overloaded", true),
        (SubmitError::Undecided, 503, "under_way", true),
        (SubmitError::Poisoned, 503, "poisoned", true),
        (SubmitError::Closing, 503, "stopping", true),
        (SubmitError::IndexRebuilding, 503, "index_rebuilding", true),
        (SubmitError::KeyConflict, 422, "idempotency_conflict", false),
        (SubmitError::TooLarge { bytes: 2, limit: 1 }, 413, "body_too_large", false),
    ] {
        server.log.refuse(error);
        let reply = client.order("Idempotency-Key: k\r\n", ORDER).await;
        assert_eq!(reply.assert_problem(status, code)["retryable"], retryable);
        assert_eq!(reply.header("retry-after"), (status > 500).then_some("7"), "{code}");
    }
}

#[tokio::test]
async fn records_too_large_for_kafka_are_refused() {
    let server = serve_with(super::fixture::config(), ByteSize::kib(2)).await;
    let mut client = server.connect().await;
    let order = |filler: usize| format!(r#"{{"id":"o","amount":1,"x":"{}"}}"#, "x".repeat(filler));
    client.order("", order(2_000)).await.assert_problem(413, "record_too_large");
    client.order(NDJSON, format!("{ORDER}\n{}", order(2_000))).await.assert_problem(413, "record_too_large");
    server.assert_nothing_submitted();
    assert_eq!(client.order("", order(1_000)).await.status, 202);
    assert_eq!(server.bound_hit("record"), 2);
}

#[tokio::test]
async fn requests_are_counted_by_route_not_by_path() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.order("", ORDER).await;
    client.order("", "{").await;
    client.get("/v1/commands/SECRET", "").await;
    client.get("/nowhere/SECRET", "").await;
    let text = String::from_utf8(server.registry.render().unwrap()).unwrap();
    for line in [
        r#"http_requests_total{method="POST",route="/v1/commands/{kind}",status="202"} 1"#,
        r#"http_requests_total{method="POST",route="/v1/commands/{kind}",status="400"} 1"#,
        r#"http_requests_total{method="GET",route="/v1/commands/{id}",status="404"} 1"#,
        r#"http_requests_total{method="other",route="none",status="404"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/v1/commands/{kind}"} 2"#,
        "http_in_flight 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("SECRET"));
}
