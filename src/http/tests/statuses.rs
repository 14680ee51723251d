use super::fixture::{FakeLog, serve};
use crate::command::CommandState;

const ORDER: &str = r#"{"id":"o-1","amount":12}"#;
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

#[tokio::test]
async fn command_ids_are_case_insensitive() {
    let server = serve().await;
    server.log.set(FakeLog::id(4), CommandState::Sent);
    let mut client = server.connect().await;
    for id in [FakeLog::id(4).to_string(), FakeLog::id(4).to_string().to_lowercase()] {
        let reply = client.get(&format!("/v1/commands/{id}"), "").await;
        assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("sent")));
        assert_eq!(reply.json()["reason"], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn unknown_commands_and_commands_of_other_logs_are_404() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.get("/v1/commands/nonsense", "").await.assert_problem(404, "not_found");
    client.get(&format!("/v1/commands/{}", FakeLog::id(9)), "").await.assert_problem(404, "not_found");
    client.get(&format!("/v1/commands/{}", FakeLog::id(255)), "").await.assert_problem(404, "other_log");
}

/// Regression: the token was verified before the check that logins are disabled.
#[tokio::test]
async fn disabled_login_paths_are_404_for_all_callers() {
    let server = serve().await;
    let repeated = "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n";
    for path in ["/login", "/refresh", "/logout"] {
        server.connect().await.post(path, repeated, "{}").await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn wait_ends_with_the_final_state() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.send(format!("POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nPrefer: wait=60\r\nContent-Length: 24\r\n\r\n{ORDER}")).await;
    server.log.await_arrivals(1).await;
    server.log.set(FakeLog::id(0), CommandState::Sent);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("sent")));
    assert_eq!(reply.header("preference-applied"), Some("wait=60"));
}

#[tokio::test]
async fn expired_wait_gets_a_202() {
    let server = serve().await;
    let mut client = server.connect().await;
    let reply = client.order("Prefer: wait=0\r\n", ORDER).await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (202, Some("accepted")));
    assert!(reply.header("location").is_some());
    assert_eq!(
        client.order("Prefer: respond-async\r\n", ORDER).await.header("preference-applied"),
        Some("respond-async")
    );
    assert_eq!(client.order("", ORDER).await.header("preference-applied"), None);
}

#[tokio::test]
async fn batch_wait_ends_when_all_commands_are_final() {
    let server = serve().await;
    let mut client = server.connect().await;
    let body = format!("{ORDER}\n{ORDER}\n");
    let head = format!("POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\n{NDJSON}Prefer: wait=60\r\n");
    client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    server.log.await_arrivals(1).await;
    server.log.set(FakeLog::id(1), CommandState::Dead);
    server.log.set(FakeLog::id(0), CommandState::Sent);
    let reply = client.reply().await;
    assert_eq!(reply.status, 200);
    let states: Vec<_> =
        reply.json()["commands"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect();
    assert_eq!(states, ["sent", "dead"]);

    let reply = client.order(&format!("{NDJSON}Prefer: wait=0\r\n"), body).await;
    assert_eq!(reply.status, 202);
}

#[tokio::test]
async fn status_requests_can_wait() {
    let server = serve().await;
    server.log.set(FakeLog::id(3), CommandState::Accepted);
    let mut client = server.connect().await;
    let path = format!("/v1/commands/{}", FakeLog::id(3));
    assert_eq!(client.get(&path, "Prefer: wait=0\r\n").await.json()["state"], "accepted");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\nPrefer: wait=60\r\n\r\n")).await;
    server.log.set(FakeLog::id(3), CommandState::Sent);
    assert_eq!(client.reply().await.json()["state"], "sent");
}

#[tokio::test]
async fn client_disconnecting_during_a_wait_is_harmless() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.send(format!("POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nPrefer: wait=60\r\nContent-Length: 24\r\n\r\n{ORDER}")).await;
    server.log.await_arrivals(1).await;
    assert_eq!(server.metrics.in_flight.get(), 1);
    drop(client);
    while server.metrics.in_flight.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.connect().await.order("", ORDER).await.status, 202);
}
