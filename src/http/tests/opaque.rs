//! Kinds with opaque bodies, and keys in headers.

use super::fixture::{Server, config, serve_parts};
use crate::kinds;
use crate::kinds::{Kinds, defaults};
use crate::units::ByteSize;

const FILE: &str = "/v1/commands/file.store";

fn kind(name: &str, content_types: &[&str], key_header: Option<&str>) -> kinds::Config {
    kinds::Config {
        name: name.to_owned(),
        topic: "files.v1".to_owned(),
        key: None,
        schema_file: None,
        content_types: content_types.iter().map(|one| (*one).to_owned()).collect(),
        key_header: key_header.map(str::to_owned),
        ..defaults().remove(0)
    }
}

async fn serve(message_max: ByteSize) -> Server {
    let kinds = [
        kind("file.store", &["application/avro", "application/octet-stream"], Some("File-Name")),
        kind("plain.store", &["application/x-protobuf"], None),
        kind("mixed.store", &["application/json", "text/plain", "application/vnd.a+json"], None),
        kind("named.create", &["application/json"], Some("file-name")),
        kind("plus.store", &["application/vnd.a+json"], None),
    ];
    serve_parts(config(), message_max, Kinds::build(&kinds).unwrap()).await
}

#[tokio::test]
async fn opaque_body_type_and_key_reach_the_log_unchanged() {
    let server = serve(ByteSize::mib(1)).await;
    let mut client = server.connect().await;
    let all: Vec<u8> = (0..=255).chain(*b"\r\n{\0").collect();
    let types = "Content-Type: Application/Avro; schema=\"5\"\r\nFile-Name: gr\u{f6}\u{df}e/1\r\n";
    assert_eq!(client.post(FILE, types, &all).await.status, 202);
    assert_eq!(
        client.post(FILE, "File-Name: 2\r\n", "").await.status,
        202,
        "an empty body without a media type"
    );
    assert_eq!(
        client.post("/v1/commands/plain.store", "Content-Type: application/x-protobuf\r\n", "x").await.status,
        202
    );
    let commands: Vec<_> = server.log.submitted().into_iter().flat_map(|request| request.commands).collect();
    let seen: Vec<_> =
        commands.iter().map(|one| (&*one.content_type, one.key.as_deref(), &*one.value)).collect();
    assert_eq!(
        seen,
        [
            ("Application/Avro; schema=\"5\"", Some("gr\u{f6}\u{df}e/1".as_bytes()), &all[..]),
            ("application/octet-stream", Some(&b"2"[..]), b""),
            ("application/x-protobuf", None, b"x"),
        ]
    );
    assert!(commands.iter().all(|one| one.headers.is_empty() && !one.no_value));
}

#[tokio::test]
async fn refusal_lists_the_accepted_media_types() {
    let server = serve(ByteSize::mib(1)).await;
    for (path, types, detail) in [
        ("file.store", "application/json", "This kind accepts application/avro, application/octet-stream."),
        (
            "file.store",
            "application/x-www-form-urlencoded",
            "This kind accepts application/avro, application/octet-stream.",
        ),
        (
            "file.store",
            "application/x-ndjson",
            "This kind accepts application/avro, application/octet-stream.",
        ),
        (
            "file.store",
            "application/cloudevents+json",
            "This kind does not accept CloudEvents. It accepts application/avro, application/octet-stream.",
        ),
        ("file.store", "nonsense", "Content-Type is not a media type."),
        (
            "mixed.store",
            "application/avro",
            "This kind accepts application/json, text/plain, application/vnd.a+json, or application/x-ndjson for a batch of \
             JSON.",
        ),
        (
            "mixed.store",
            "application/json; charset=latin1",
            "This kind accepts application/json, text/plain, application/vnd.a+json, or application/x-ndjson for a batch of \
             JSON.",
        ),
        ("order.create", "application/avro", ""),
    ] {
        let headers = format!("Content-Type: {types}\r\nFile-Name: a\r\n");
        // The body is refused unread, so the server closes the connection.
        let mut client = server.connect().await;
        let reply = client.post(&format!("/v1/commands/{path}"), &headers, "{}").await;
        if path == "order.create" {
            reply.assert_problem(404, "unknown_kind");
            continue;
        }
        let problem = reply.assert_problem(415, "unsupported_media_type");
        assert_eq!(
            (&problem["detail"], &problem["field"]),
            (&detail.into(), &"Content-Type".into()),
            "{types}"
        );
    }
    let untyped = server.connect().await.post("/v1/commands/plain.store", "", "x").await;
    untyped.assert_problem(415, "unsupported_media_type");
    let encoded = "Content-Type: application/avro\r\nContent-Encoding: gzip\r\nFile-Name: a\r\n";
    let mut client = server.connect().await;
    let problem = client.post(FILE, encoded, "x").await.assert_problem(415, "unsupported_media_type");
    assert_eq!(problem["field"], "Content-Encoding");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn kinds_may_accept_json_and_other_types() {
    let server = serve(ByteSize::mib(1)).await;
    let mut client = server.connect().await;
    let path = "/v1/commands/mixed.store";
    let typed = |name: &str| format!("Content-Type: {name}\r\n");
    assert_eq!(client.post(path, "", "{\"a\":1}").await.status, 202);
    client.post(path, &typed("application/json"), "no JSON").await.assert_problem(400, "malformed_body");
    assert_eq!(client.post(path, &typed("text/plain;charset=latin1"), b"\xe4").await.status, 202);
    assert_eq!(client.post(path, &typed("application/vnd.a+json;v=1"), "{}").await.status, 202);
    client.post(path, &typed("application/vnd.a+json"), "[]").await.assert_problem(400, "malformed_body");
    assert_eq!(client.post(path, &typed("application/x-ndjson"), "{}\n{}").await.status, 202);
    let types: Vec<_> =
        server.log.submitted().iter().map(|one| one.commands[0].content_type.to_string()).collect();
    let json = "application/json";
    assert_eq!(types, [json, "text/plain;charset=latin1", "application/vnd.a+json;v=1", json]);
}

#[tokio::test]
async fn header_key_is_required_once_and_limited() {
    let server = serve(ByteSize::mib(1)).await;
    let mut client = server.connect().await;
    let path = "/v1/commands/named.create";
    let long = format!("file-name: {}\r\n", "k".repeat(1025));
    for headers in ["", "file-name:\r\n", "file-name: a\r\nfile-name: b\r\n", &long] {
        let mut client = server.connect().await;
        let problem = client.post(path, headers, "{}").await.assert_problem(400, "bad_header");
        assert_eq!(problem["field"], "file-name", "{headers}");
    }
    client.send(format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nfile-name: ")).await;
    client.send(b"\xff\r\n\r\n{}").await;
    client.reply().await.assert_problem(400, "bad_header");
    server.assert_nothing_submitted();
    let mut client = server.connect().await;
    assert_eq!(client.post(path, &format!("FILE-NAME: {}\r\n", "k".repeat(1024)), "{}").await.status, 202);
    let lines = "Content-Type: application/x-ndjson\r\nfile-name: one\r\n";
    assert_eq!(client.post(path, lines, "{}\n{}\n").await.status, 202);
    let keys: Vec<_> =
        server.log.submitted()[1].commands.iter().map(|one| one.key.clone().unwrap()).collect();
    assert_eq!(keys, ["one", "one"], "all lines have the key");
}

#[tokio::test]
async fn idempotency_includes_the_key_in_the_header() {
    let server = serve(ByteSize::mib(1)).await;
    let mut client = server.connect().await;
    for (name, body) in [("a", "same"), ("b", "same"), ("b", "same"), ("b", "other")] {
        let headers = format!("Idempotency-Key: k\r\nFile-Name: {name}\r\n");
        assert_eq!(client.post(FILE, &headers, body).await.status, 202);
    }
    let bound: Vec<_> = server.log.submitted().into_iter().map(|one| one.idempotency.unwrap().body).collect();
    assert_ne!(bound[0], bound[1]);
    assert_eq!(bound[1], bound[2]);
    assert_ne!(bound[2], bound[3], "a different body");
    assert!(bound.iter().all(|one| one.len() == 32), "a digest, not a copy of the body");
}

#[tokio::test]
async fn opaque_bodies_have_the_limits_of_other_bodies() {
    let server = serve(ByteSize::kib(32)).await;
    let mut client = server.connect().await;
    let headers = "File-Name: a\r\n";
    server
        .connect()
        .await
        .post(FILE, headers, vec![0; (64 << 10) + 1])
        .await
        .assert_problem(413, "body_too_large");
    client.post(FILE, headers, vec![0; 32 << 10]).await.assert_problem(413, "record_too_large");
    server.assert_nothing_submitted();
    assert_eq!(client.post(FILE, headers, vec![0; 31 << 10]).await.status, 202);
}

#[tokio::test]
async fn description_lists_media_types_and_key_headers() {
    let server = serve(ByteSize::mib(1)).await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let post = |path: &str| described["paths"][path]["post"].clone();
    let json = ["application/json", "application/x-ndjson"];
    for (path, expected) in [
        (FILE, &["application/avro", "application/octet-stream"][..]),
        ("/v1/commands/plain.store", &["application/x-protobuf"]),
        ("/v1/commands/mixed.store", &[json[0], "application/vnd.a+json", json[1], "text/plain"]),
        ("/v1/commands/named.create", &json),
        ("/v1/commands/plus.store", &["application/vnd.a+json"]),
    ] {
        let post = post(path);
        let content = post["requestBody"]["content"].as_object().unwrap();
        let mut names: Vec<_> = content.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{path}");
        assert_eq!(post["requestBody"]["required"], true, "{path}");
    }
    for path in [FILE, "/v1/commands/named.create"] {
        let post = post(path);
        let parameters = post["parameters"].as_array().unwrap();
        let header = parameters.iter().find(|one| one["name"] == "file-name").unwrap();
        assert_eq!((&header["in"], &header["required"]), (&"header".into(), &true.into()), "{path}");
    }
    let describes = |path: &str, text: &str| {
        let post = post(path);
        assert!(post["description"].as_str().unwrap().contains(text), "{post}");
    };
    describes(FILE, "Any bytes are accepted. The header `file-name` is the key");
    describes("/v1/commands/plus.store", "Any JSON object is accepted. The kind has no key");
    describes(
        "/v1/commands/mixed.store",
        "Any JSON object is accepted, and any bytes of the other media types.",
    );
    let plus = post("/v1/commands/plus.store");
    let example = &plus["requestBody"]["content"]["application/vnd.a+json"]["example"];
    assert!(example.is_object(), "{plus}");
}
