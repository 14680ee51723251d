use std::time::Duration;

use tokio::net::TcpStream;

use super::fixture::{config, serve, serve_with};
use crate::http::{Config, HttpServer};
use crate::units::{ByteSize, Span};

const ORDER: &str = r#"{"id":"o-1","amount":12}"#;

#[tokio::test]
async fn connection_without_data_is_closed_without_a_response() {
    let server = serve_with(Config { header_timeout: Span::millis(50), ..config() }, ByteSize::mib(1)).await;
    server.connect().await.assert_closed().await;
}

#[tokio::test]
async fn idle_timeout_differs_from_header_timeout() {
    let limits = Config { header_timeout: Span::secs(60), idle_timeout: Span::millis(50), ..config() };
    let server = serve_with(limits, ByteSize::mib(1)).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/healthz", "").await.status, 200);
    client.assert_closed().await;
}

#[tokio::test]
async fn processing_a_request_has_no_timeout() {
    let short = Span::millis(20);
    let limits = Config { header_timeout: short, body_timeout: short, idle_timeout: short, ..config() };
    let server = serve_with(limits, ByteSize::mib(1)).await;
    server.log.hold(true);
    let mut client = server.connect_with(&format!(
        "POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nContent-Length: 24\r\n\r\n{ORDER}"
    ));
    server.log.await_arrivals(1).await;
    tokio::time::sleep(short.0 * 5).await;
    server.log.hold(false);
    assert_eq!(client.reply().await.status, 202);
    client.assert_closed().await;
}

#[tokio::test]
async fn connections_above_the_limit_get_503() {
    let server = serve_with(Config { max_connections: 2, ..config() }, ByteSize::mib(1)).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    assert_eq!(first.get("/healthz", "").await.status, 200);
    assert_eq!(second.get("/healthz", "").await.status, 200);
    let mut third = server.connect().await;
    let reply = third.order("", ORDER).await;
    reply.assert_problem(503, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    third.assert_closed().await;
    assert_eq!(server.bound_hit("connections"), 1);
    server.assert_nothing_submitted();

    drop(first);
    while server.connect().await.get("/healthz", "").await.status != 200 {}
}

#[tokio::test]
async fn stop_finishes_open_requests_and_closes_idle_connections() {
    let mut server = serve().await;
    server.log.hold(true);
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/healthz", "").await.status, 200);
    let mut open = server.connect().await;
    open.send(format!(
        "POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nContent-Length: 24\r\n\r\n{ORDER}"
    ))
    .await;
    server.log.await_arrivals(1).await;

    let stopped = server.stop();
    idle.assert_closed().await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
    server.log.hold(false);
    let reply = open.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (202, Some("close")));
    open.assert_closed().await;
    assert_eq!(stopped.await.unwrap(), 0);
}

#[tokio::test]
async fn client_connected_before_a_stop_gets_a_response() {
    let mut server = serve().await;
    let mut early = server.connect().await;
    // Connections are accepted in their order.
    assert_eq!(server.connect().await.get("/healthz", "").await.status, 200);
    let stopped = server.stop();
    // When connections fail, the server has received the stop.
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {}
    assert_eq!(early.get("/healthz", "").await.status, 200);
    early.assert_closed().await;
    assert_eq!(stopped.await.unwrap(), 0);
}

#[tokio::test]
async fn stop_closes_connections_after_the_grace_period() {
    let mut server =
        serve_with(Config { shutdown_grace: Span::millis(50), ..config() }, ByteSize::mib(1)).await;
    server.log.hold(true);
    let mut open = server.connect().await;
    open.send(format!(
        "POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nContent-Length: 24\r\n\r\n{ORDER}"
    ))
    .await;
    server.log.await_arrivals(1).await;
    assert_eq!(server.stop().await.unwrap(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = serve().await;
    let mut client = server.connect().await;
    let post =
        format!("POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\nContent-Length: 24\r\n\r\n{ORDER}");
    client.send(format!("{post}GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n{post}")).await;
    let statuses = [client.reply().await.status, client.reply().await.status, client.reply().await.status];
    assert_eq!(statuses, [202, 200, 202]);
}

#[tokio::test]
async fn client_that_does_not_read_responses_is_disconnected() {
    let limits = Config { body_timeout: Span::millis(50), max_connections: 1, ..config() };
    let server = serve_with(limits, ByteSize::mib(1)).await;
    let mut stalled = server.connect().await;
    // More responses than fit into two socket buffers.
    stalled.send("GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n".repeat(3_000)).await;
    while server.connect().await.get("/healthz", "").await.status != 200 {}
    drop(stalled);
}

/// A client whose connection does not fit into the accept queue tries again after a second.
#[tokio::test]
async fn accept_queue_holds_many_simultaneous_connections() {
    let metrics = crate::http::Metrics::register(&crate::metrics::Registry::new().unwrap()).unwrap();
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), config().limits(), &metrics).unwrap();
    let address = server.local_addr().unwrap();
    // The server does not accept them. The number exceeds tokio's default queue, but neither the file descriptors of
    // the test nor the kernel's limit.
    let mut open = Vec::new();
    for number in 0..400 {
        let connected = tokio::time::timeout(Duration::from_secs(30), TcpStream::connect(address)).await;
        open.push(
            connected.unwrap_or_else(|_| panic!("connection {number} did not fit into the queue")).unwrap(),
        );
    }
}
