//! Bad input: every case gets a problem document, and nothing is submitted to the log.

use super::client::Reply;
use super::fixture::{Server, config, serve, serve_with};
use crate::units::{ByteSize, Span};

const ORDER: &str = r#"{"id":"o-1","amount":12}"#;
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const POST: &str = "POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\n";

/// Sends these bytes on a new connection. The server must respond and then close the connection.
async fn last_word(server: &Server, bytes: impl AsRef<[u8]>) -> Reply {
    let mut client = server.connect().await;
    client.send(bytes).await;
    let reply = client.reply().await;
    client.assert_closed().await;
    server.assert_nothing_submitted();
    reply
}

#[tokio::test]
async fn malformed_json_invalid_utf_8_and_nul_bytes() {
    let server = serve().await;
    let mut client = server.connect().await;
    let bodies: &[&[u8]] = &[b"", b"{", b"[]", b"nonsense", b"{\"id\":\"\xff\"}", b"{\"id\":\"\0\"}", b"\0"];
    for body in bodies {
        client.order("", body).await.assert_problem(400, "malformed_body");
    }
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn duplicate_members_and_nesting_over_64_levels() {
    let server = serve().await;
    let mut client = server.connect().await;
    let twice = client.order("", r#"{"id":"a","amount":1,"id":"b"}"#).await;
    assert_eq!(twice.assert_problem(400, "malformed_body")["field"], "id");
    let deep = format!(r#"{{"id":"a","amount":1,"x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    client.order("", deep).await.assert_problem(400, "malformed_body");
    client.order("", "[".repeat(60_000)).await.assert_problem(400, "malformed_body");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn wrong_media_types_and_encodings() {
    let server = serve().await;
    for header in
        ["Content-Type: text/plain\r\n", "Content-Type: application/xml\r\n", "Content-Encoding: gzip\r\n"]
    {
        let reply = server.connect().await.order(header, ORDER).await;
        reply.assert_problem(415, "unsupported_media_type");
    }
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn unknown_and_reserved_kinds_paths_and_methods() {
    let server = serve().await;
    for kind in ["nothing", "user.create", "forebay.requeue", "order.create%00"] {
        let path = format!("/v1/commands/{kind}");
        server.connect().await.post(&path, "", ORDER).await.assert_problem(404, "unknown_kind");
    }
    server.connect().await.post("/v1/commands/a/b", "", ORDER).await.assert_problem(404, "not_found");
    let reply = server.connect().await.post("/readyz", "", ORDER).await;
    reply.assert_problem(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    let mut client = server.connect().await;
    client.send("DELETE /v1/commands/x HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let reply = client.reply().await;
    reply.assert_problem(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("POST, GET, HEAD"));
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn schema_violations_name_their_pointers_and_no_values() {
    let server = serve().await;
    let mut client = server.connect().await;
    let reply = client.order("", r#"{"id":"o","amount":"secret"}"#).await;
    let document = reply.assert_problem(422, "invalid_command");
    assert_eq!(document["errors"][0]["pointer"], "/amount");
    assert_eq!(document["field"], "/amount");
    assert!(!reply.body.contains("secret"));
    client.order("", r#"{"id":"o","amount":-1}"#).await.assert_problem(422, "invalid_command");
    let long = format!(r#"{{"id":"{}","amount":1}}"#, "k".repeat(1025));
    assert_eq!(client.order("", long).await.assert_problem(422, "invalid_command")["field"], "/id");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn body_with_too_large_announced_length_is_refused_unread() {
    let server = serve().await;
    // No byte of the body is sent. The server must not send `100 Continue` first.
    let head = format!("{POST}Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
    last_word(&server, head).await.assert_problem(413, "body_too_large");
    assert_eq!(server.bound_hit("body"), 1);
}

#[tokio::test]
async fn too_large_body_that_is_sent_anyway_is_refused() {
    let server = serve().await;
    let body = vec![b' '; 600_000];
    let mut client = server.connect().await;
    client.send(format!("{POST}Content-Length: 600000\r\n\r\n")).await;
    client.send(&body).await;
    client.reply().await.assert_problem(413, "body_too_large");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn too_large_chunked_body_is_refused() {
    let server = serve().await;
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let bytes = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    last_word(&server, bytes).await.assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn request_without_length_has_no_body() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.send(format!("{POST}\r\n")).await;
    client.reply().await.assert_problem(400, "malformed_body");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn too_large_batch_is_refused() {
    let server = serve().await;
    let bytes = format!("{POST}{NDJSON}Content-Length: 1048577\r\n\r\n");
    last_word(&server, bytes).await.assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn slow_headers() {
    let server =
        serve_with(crate::http::Config { header_timeout: Span::millis(50), ..config() }, ByteSize::mib(1))
            .await;
    last_word(&server, "POST /v1/commands/order.create HTTP/1.1\r\nHo").await.assert_problem(408, "timeout");
}

#[tokio::test]
async fn slow_headers_on_a_connection_that_was_used_before() {
    let server =
        serve_with(crate::http::Config { header_timeout: Span::millis(50), ..config() }, ByteSize::mib(1))
            .await;
    let mut client = server.connect_with("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.reply().await.status, 200);
    client.send("GET /hea").await;
    client.reply().await.assert_problem(408, "timeout");
    client.assert_closed().await;
}

#[tokio::test]
async fn a_slow_body() {
    let server =
        serve_with(crate::http::Config { body_timeout: Span::millis(50), ..config() }, ByteSize::mib(1))
            .await;
    last_word(&server, format!("{POST}Content-Length: 24\r\n\r\n{{\"id\":"))
        .await
        .assert_problem(408, "timeout");
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"id\"");
    last_word(&server, chunked).await.assert_problem(408, "timeout");
}

#[tokio::test]
async fn a_truncated_body() {
    let server = serve().await;
    for rest in [
        "Content-Length: 24\r\n\r\n{\"id\":\"o-1\",\"amou",
        "Transfer-Encoding: chunked\r\n\r\n18\r\n{\"id\":\"o-1\"",
    ] {
        let mut client = server.connect().await;
        client.send(format!("{POST}{rest}")).await;
        let mut client = client.half_close().await;
        client.reply().await.assert_problem(400, "truncated_body");
        client.assert_closed().await;
    }
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn conflicting_lengths() {
    let server = serve().await;
    for lines in [
        "Content-Length: 24\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 24\r\n",
        "Content-Length: 24\r\nContent-Length: 25\r\n",
        "Content-Length: 24\r\nContent-Length: 24\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let bytes = format!("{POST}{lines}\r\n18\r\n{ORDER}\r\n0\r\n\r\n");
        last_word(&server, bytes).await.assert_problem(400, "ambiguous_length");
    }
    for lines in [
        "Content-Length: 24, 24\r\n",
        "Content-Length: +24\r\n",
        "Content-Length: 24 \r\n x\r\n",
        "Content-Length : 24\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n18\r\n",
        "Transfer-Encoding: gzip, Chunked, chunked\r\n\r\n18\r\n",
        "Transfer-Encoding: , chunked\r\n\r\n18\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let reply = last_word(&server, format!("{POST}{lines}\r\n{ORDER}")).await;
        reply.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn other_transfer_codings_than_chunked_are_refused() {
    let server = serve().await;
    for codings in ["gzip, chunked", "identity,chunked", "gzip, deflate, Chunked"] {
        let bytes = format!("{POST}Transfer-Encoding: {codings}\r\n\r\n18\r\n{ORDER}\r\n0\r\n\r\n");
        last_word(&server, bytes).await.assert_problem(501, "unsupported_transfer_coding");
    }
    let mut client = server.connect().await;
    client.send(format!("{POST}Transfer-Encoding: CHUNKED\r\n\r\n18\r\n{ORDER}\r\n0\r\n\r\n")).await;
    assert_eq!(client.reply().await.status, 202);
}

#[tokio::test]
async fn malformed_heads() {
    let server = serve().await;
    for bytes in [
        "nonsense\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
    ] {
        last_word(&server, bytes).await.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn malformed_pipelined_head_keeps_the_previous_response_intact() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\nnon sense\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    client.reply().await.assert_problem(400, "malformed_request");
    client.assert_closed().await;
}

#[tokio::test]
async fn duplicate_and_oversized_headers() {
    let server = serve().await;
    for lines in [
        "Host: other\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
    ] {
        server.connect().await.order(lines, ORDER).await.assert_problem(400, "bad_header");
    }
    let long = format!("{POST}X: {}\r\n\r\n", "x".repeat(16 << 10));
    last_word(&server, long).await.assert_problem(431, "headers_too_large");
    let many = format!("{POST}{}\r\n", "X: y\r\n".repeat(200));
    last_word(&server, many).await.assert_problem(431, "headers_too_large");
}

#[tokio::test]
async fn an_idempotency_key_too_long_or_not_printable() {
    let server = serve().await;
    for key in ["", &"k".repeat(256), "schl\u{fc}ssel", "a\tb"] {
        let header = format!("Idempotency-Key: {key}\r\n");
        let reply = server.connect().await.order(&header, ORDER).await;
        assert_eq!(reply.assert_problem(400, "bad_header")["field"], "Idempotency-Key");
    }
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn a_batch_with_one_bad_line() {
    let server = serve().await;
    let mut client = server.connect().await;
    let body = format!("{ORDER}\n{ORDER}\n{{\"id\":\"x\",\"amount\":-1}}\n{ORDER}\n");
    let document = client.order(NDJSON, body).await.assert_problem(422, "invalid_command");
    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!((&errors[0]["line"], &errors[0]["pointer"]), (&3.into(), &"/amount".into()));
    assert!(errors[0]["detail"].is_string());

    let body = format!("{ORDER}\n\n{{\"id\":\"x\",\"amount\":-1}}\n");
    let document = client.order(NDJSON, body).await.assert_problem(400, "malformed_body");
    assert_eq!(document["errors"][0]["line"], 2, "an empty line is not a command");
    assert_eq!(document["errors"][1]["line"], 3);
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn empty_batch_and_batch_with_only_bad_lines() {
    let server = serve().await;
    let mut client = server.connect().await;
    for body in ["", "\n", " \r\n\r\n"] {
        client.order(NDJSON, body).await.assert_problem(400, "empty_batch");
    }
    let document = client.order(NDJSON, "{\n".repeat(5_000)).await.assert_problem(400, "malformed_body");
    assert_eq!(document["errors"].as_array().unwrap().len(), 100);
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn a_tls_hello_on_the_plain_port() {
    let server = serve().await;
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 189]].concat();
    last_word(&server, hello).await.assert_problem(400, "tls_on_plain_port");
}
