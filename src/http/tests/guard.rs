//! Requests that web pages send through a browser are refused before the body is read.

use std::sync::atomic::Ordering::SeqCst;

use super::admin::{serve_admin, serve_admin_at};
use super::client::Reply;
use super::fixture::{Server, serve};

const COMMAND: &str = "/v1/commands/order.create";
const PAUSE: &str = "/admin/drain/pause";

/// Sends a request without its body, so that only its head can be refused.
async fn by_its_head(server: &Server, path: &str, lines: &str) -> Reply {
    let mut client = server.connect().await;
    client.send(format!("POST {path} HTTP/1.1\r\n{lines}Content-Length: 24\r\n\r\n")).await;
    let reply = client.reply().await;
    client.assert_closed().await;
    server.assert_nothing_submitted();
    assert!(!server.backend.paused.load(SeqCst));
    reply
}

#[tokio::test]
async fn requests_without_a_valid_host_are_refused() {
    for server in [serve().await, serve_admin().await] {
        for lines in [
            "",
            "Host:\r\n",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: user@t\r\n",
            "Host: t:port\r\n",
            "Host: ::1\r\n",
            "Host: [::1\r\n",
            "Host: \u{e9}\r\n",
            "Host: t\r\nHost: t\r\n",
        ] {
            let mut client = server.connect().await;
            client.send(format!("GET /healthz HTTP/1.1\r\n{lines}\r\n")).await;
            client.reply().await.assert_problem(400, "bad_header");
        }
        let mut client = server.connect().await;
        client.send("GET /healthz HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 200, "HTTP/1.0 has no Host");
    }
}

#[tokio::test]
async fn rebound_host_names_are_refused() {
    for (server, path) in [(serve().await, COMMAND), (serve_admin().await, PAUSE)] {
        let evil = "Host: evil.example:8088\r\n";
        by_its_head(&server, path, evil).await.assert_problem(421, "unknown_host");
        let mut client = server.connect().await;
        client.send(format!("GET /readyz HTTP/1.1\r\n{evil}\r\n")).await;
        client.reply().await.assert_problem(421, "unknown_host");
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for known in ["localhost", "127.0.0.1:8088", "[::1]", machine.trim()] {
            client.send(format!("GET /readyz HTTP/1.1\r\nHost: {known}\r\n\r\n")).await;
            assert_eq!(client.reply().await.status, 200, "{known}");
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_change_state() {
    for (server, path) in [(serve().await, COMMAND), (serve_admin().await, PAUSE)] {
        for lines in [
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
        ] {
            let lines = format!("Host: localhost\r\n{lines}");
            by_its_head(&server, path, &lines).await.assert_problem(403, "cross_site");
        }
    }
}

#[tokio::test]
async fn own_origin_and_non_browser_clients_are_accepted() {
    let server = serve_admin().await;
    let mut client = server.connect().await;
    for lines in ["", "Origin: http://t\r\nSec-Fetch-Site: same-origin\r\n"] {
        assert_eq!(client.post(PAUSE, lines, "").await.status, 200, "{lines}");
    }
    assert!(server.backend.paused.load(SeqCst));
    let foreign = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(
        client.get("/readyz", foreign).await.status,
        200,
        "the browser does not show the response to the page"
    );
}

#[tokio::test]
async fn outside_loopback_only_probes_may_use_any_name() {
    let server = serve_admin_at("0.0.0.0:0").await;
    let mut client = server.connect().await;
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/admin/backlog", 421)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: queue.example\r\n\r\n")).await;
        assert_eq!(client.reply().await.status, status, "{path}");
    }
}
