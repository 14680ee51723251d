//! Limits of the cost of a request: sizes are checked before parsing, the number of reported errors is limited, and
//! large bodies do not block the runtime.

use super::fixture::{config, serve, serve_with};
use crate::units::ByteSize;

const ORDER: &str = r#"{"id":"o-1","amount":12}"#;
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

#[tokio::test]
async fn record_size_is_checked_before_parsing() {
    let server = serve_with(config(), ByteSize::kib(2)).await;
    let mut client = server.connect().await;
    let not_json = "x".repeat(3_000);
    client.order("", &not_json).await.assert_problem(413, "record_too_large");
    let document = client.order(NDJSON, format!("{ORDER}\n{not_json}\n")).await;
    assert_eq!(document.assert_problem(413, "record_too_large")["errors"][0]["line"], 2);
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn batch_lines_have_the_size_limit_of_single_bodies() {
    let server = serve().await;
    let mut client = server.connect().await;
    let line = |bytes: usize| format!("{}{}", ORDER, " ".repeat(bytes - ORDER.len()));
    let limit = config().max_body.as_usize();
    assert_eq!(client.order(NDJSON, line(limit)).await.status, 202);
    let refusal = client.order(NDJSON, format!("{ORDER}\n{}", line(limit + 1))).await;
    assert_eq!(refusal.assert_problem(413, "body_too_large")["errors"][0]["line"], 2);
}

#[tokio::test]
async fn number_of_reported_errors_is_limited() {
    let server = serve().await;
    let mut client = server.connect().await;
    let wrong = r#"{"id":1,"amount":-1}"#;
    let one = client.order("", wrong).await.assert_problem(422, "invalid_command");
    assert_eq!(one["errors"].as_array().unwrap().len(), 2);
    let batch = client.order(NDJSON, format!("{wrong}\n").repeat(5_000)).await;
    let errors = batch.assert_problem(422, "invalid_command")["errors"].as_array().unwrap().clone();
    assert_eq!((errors.len(), &errors[99]["line"]), (100, &50.into()));
    assert!(batch.body.len() < 32 << 10, "{}", batch.body.len());
}

#[tokio::test]
async fn waiting_large_body_does_not_delay_small_ones() {
    let server = serve().await;
    let (mut large, mut small) = (server.connect().await, server.connect().await);
    for headers in ["", NDJSON] {
        let busy = server.checks.acquire_all().await;
        let body = format!("{}{}", ORDER, " ".repeat(32 << 10));
        let before = server.log.submitted().len();
        large.send_order(headers, body).await;
        // After ten requests on the other connection, the large body has been read.
        for _ in 0..10 {
            assert_eq!(small.order(headers, ORDER).await.status, 202);
        }
        assert_eq!(server.log.submitted().len(), before + 10);
        drop(busy);
        assert_eq!(large.reply().await.status, 202);
    }
}
