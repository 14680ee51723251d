//! CloudEvents in the three modes of the HTTP protocol binding.

use serde_json::{Value, json};

use super::client::Client;
use super::fixture::{FakeLog, Server, config, serve_parts};
use crate::command::Headers;
use crate::http::Config;
use crate::ingest::Submission;
use crate::kinds;
use crate::kinds::{CloudEvents, Kinds, defaults};
use crate::units::ByteSize;

const BINARY: &str = "/v1/commands/binary.store";
const STRUCTURED: &str = "/v1/commands/structured.store";
const ORDER: &str = "/v1/commands/order.event";
const PLUS: &str = "/v1/commands/plus.event";
const LEAST: &str = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n";
const DOCUMENT: &str = "Content-Type: application/cloudevents+json\r\n";
const BATCH: &str = "Content-Type: application/cloudevents-batch+json; charset=utf-8\r\n";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn kind(name: &str, cloudevents: CloudEvents) -> kinds::Config {
    kinds::Config {
        name: name.to_owned(),
        topic: "events.v1".to_owned(),
        key: None,
        schema_file: None,
        content_types: ["application/json", "application/octet-stream", "text/plain"]
            .map(str::to_owned)
            .to_vec(),
        cloudevents,
        ..defaults().remove(0)
    }
}

async fn serve() -> Server {
    serve_with(config()).await
}

async fn serve_with(config: Config) -> Server {
    let order = kinds::Config {
        name: "order.event".to_owned(),
        cloudevents: CloudEvents::Binary,
        ..defaults().remove(0)
    };
    let plus = kinds::Config {
        content_types: vec!["application/vnd.a+json".to_owned()],
        ..kind("plus.event", CloudEvents::Binary)
    };
    let kinds = [
        plus,
        kind("binary.store", CloudEvents::Binary),
        kind("structured.store", CloudEvents::Structured),
        kind("plain.store", CloudEvents::Off),
        order,
    ];
    serve_parts(config, ByteSize::mib(1), Kinds::build(&kinds).unwrap()).await
}

fn event(more: &Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn command(server: &Server, request: usize) -> Submission {
    server.log.submitted()[request].commands[0].clone()
}

fn headers(command: &Submission) -> Vec<(String, String)> {
    let headers = Headers::parse(&command.headers).unwrap();
    headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn accepted(client: &mut Client, path: &str, headers: &str, body: impl AsRef<[u8]>) {
    let reply = client.post(path, headers, body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[tokio::test]
async fn event_headers_become_record_headers() {
    let server = serve().await;
    let more = "ce-subject: Euro%20%E2%82%AC\r\nCE-PartitionKey: k-1\r\nContent-Type: text/plain; a=b\r\n";
    accepted(&mut server.connect().await, BINARY, &format!("{LEAST}{more}"), "data").await;
    let command = command(&server, 0);
    assert_eq!((&*command.content_type, &*command.value), ("text/plain; a=b", &b"data"[..]));
    assert_eq!(command.key.as_deref(), Some(&b"k-1"[..]));
    let mut headers = headers(&command);
    headers.sort();
    let expected = [
        ("ce_id", "1"),
        ("ce_partitionkey", "k-1"),
        ("ce_source", "/s"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "Euro €"),
        ("ce_type", "t"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn document_is_unchanged_or_split_by_kafka_mode() {
    let server = serve().await;
    let mut client = server.connect().await;
    let text = " {\"specversion\":\"1.0\", \"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"n\":5,\"data\":{ \"a\":1.0 }}";
    accepted(&mut client, STRUCTURED, DOCUMENT, text).await;
    accepted(&mut client, BINARY, DOCUMENT, text).await;
    let as_is = command(&server, 0);
    assert_eq!((&*as_is.value, as_is.headers.is_empty()), (text.as_bytes(), true));
    assert_eq!(&*as_is.content_type, "application/cloudevents+json; charset=UTF-8");
    let apart = command(&server, 1);
    assert_eq!((&*apart.value, &*apart.content_type), (&b"{ \"a\":1.0 }"[..], "application/json"));
    assert_eq!(headers(&apart).last().unwrap(), &("ce_n".to_owned(), "5".to_owned()));
    accepted(&mut client, STRUCTURED, LEAST, "{\"a\":1}").await;
    let document: Value = serde_json::from_slice(&command(&server, 2).value).unwrap();
    assert_eq!(document, event(&json!({"datacontenttype": "application/json", "data": {"a": 1}})));
}

#[tokio::test]
async fn event_without_data_has_a_null_value() {
    let server = serve().await;
    let mut client = server.connect().await;
    accepted(&mut client, BINARY, LEAST, "").await;
    accepted(&mut client, BINARY, &format!("{LEAST}Content-Type: application/json\r\n"), "").await;
    accepted(&mut client, BINARY, &format!("{LEAST}Content-Type: application/octet-stream\r\n"), "").await;
    accepted(&mut client, BINARY, DOCUMENT, event(&json!({})).to_string()).await;
    accepted(&mut client, STRUCTURED, LEAST, "").await;
    let seen: Vec<_> = (0..5).map(|n| command(&server, n)).collect();
    let no_value: Vec<_> = seen.iter().map(|one| (one.no_value, &*one.content_type)).collect();
    assert_eq!(
        no_value[..4],
        [(true, ""), (true, "application/json"), (false, "application/octet-stream"), (true, "")]
    );
    assert!(!seen[4].no_value && !seen[4].value.is_empty(), "the document is the value");
}

#[tokio::test]
async fn all_invalid_attributes_are_reported_with_their_location() {
    let server = serve().await;
    let mut client = server.connect().await;
    let headers = "ce-id: 1\r\nce-source: %ff\r\nce-type: t\r\nce-time: yesterday\r\n";
    let problem = client.post(BINARY, headers, "{}").await.assert_problem(400, "invalid_event");
    let named = |problem: &Value| -> Vec<_> {
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|one| (one["pointer"].clone(), one["detail"].clone())).collect()
    };
    let mut found = named(&problem);
    found.sort_by_key(|(_, detail)| detail.to_string());
    assert_eq!(
        found,
        [
            (json!(""), json!("ce-source must be UTF-8")),
            (json!(""), json!("ce-specversion is missing")),
            (json!(""), json!("ce-time must be an RFC 3339 timestamp")),
        ]
    );
    assert!(problem["field"].as_str().unwrap().starts_with("ce-"));
    let problem = client.post(BINARY, "", "{\"id\":\"o-1\"}").await.assert_problem(400, "invalid_event");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 4, "a body that is not an event: {problem}");

    let wrong = event(&json!({"id": null, "time": 5, "partitionkey": ""}));
    let problem = client.post(BINARY, DOCUMENT, wrong.to_string()).await.assert_problem(400, "invalid_event");
    let mut found = named(&problem);
    found.sort_by_key(|(pointer, _)| pointer.to_string());
    assert_eq!(
        found,
        [(json!("/id"), json!("id is missing")), (json!("/time"), json!("time must be a string"))]
    );
    for key in ["", &"k".repeat(1025)] {
        let wrong = event(&json!({"partitionkey": key}));
        let problem =
            client.post(BINARY, DOCUMENT, wrong.to_string()).await.assert_problem(400, "invalid_event");
        assert_eq!(problem["field"], "/partitionkey");
    }
    let wrong = event(&json!({"datacontenttype": "nonsense", "data": "a"}));
    let problem = client.post(BINARY, DOCUMENT, wrong.to_string()).await.assert_problem(400, "invalid_event");
    assert_eq!(problem["field"], "/datacontenttype");
    client.post(BINARY, DOCUMENT, "{").await.assert_problem(400, "malformed_body");
    client.post(BINARY, DOCUMENT, "{\"id\":\"1\",\"id\":\"2\"}").await.assert_problem(400, "malformed_body");
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn unaccepted_media_types_of_events_are_refused() {
    let server = serve().await;
    let mut client = server.connect().await;
    for (path, headers) in [
        (BINARY, "Content-Type: application/cloudevents+avro\r\n"),
        (BINARY, "Content-Type: application/cloudevents-batch+avro\r\n"),
        (BINARY, "Content-Type: application/cloudevents+json; charset=latin1\r\n"),
        ("/v1/commands/plain.store", DOCUMENT),
        ("/v1/commands/plain.store", BATCH),
        (BINARY, &format!("{LEAST}Content-Type: image/png\r\n")),
        (BINARY, &format!("{LEAST}Content-Type: application/json; charset=latin1\r\n")),
    ] {
        let body = event(&json!({})).to_string();
        // The body is refused unread, so the server closes the connection.
        let mut client = server.connect().await;
        client.post(path, headers, body).await.assert_problem(415, "unsupported_media_type");
    }
    let image = event(&json!({"datacontenttype": "image/png", "data_base64": "AA=="})).to_string();
    let problem = client.post(BINARY, DOCUMENT, image).await.assert_problem(415, "unsupported_media_type");
    assert_eq!(problem["field"], "/datacontenttype");
    let lines = "Content-Type: application/x-ndjson\r\n";
    let problem = server.connect().await.post(ORDER, &format!("{LEAST}{lines}"), "{}").await;
    assert_eq!(
        problem.assert_problem(415, "unsupported_media_type")["detail"],
        "This kind accepts CloudEvents: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers with \
         data as application/json."
    );
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn untyped_base64_data_is_opaque_if_the_kind_allows() {
    let server = serve().await;
    let mut client = server.connect().await;
    let bytes = event(&json!({"data_base64": "/w=="})).to_string();
    accepted(&mut client, BINARY, DOCUMENT, &bytes).await;
    assert_eq!((&*command(&server, 0).value, &*command(&server, 0).content_type), (&b"\xff"[..], ""));
    client.post(ORDER, DOCUMENT, bytes).await.assert_problem(400, "malformed_body");
}

#[tokio::test]
async fn schema_and_key_apply_to_the_data() {
    let server = serve().await;
    let mut client = server.connect().await;
    let order = |data: Value| event(&json!({"partitionkey": "p", "data": data})).to_string();
    accepted(&mut client, ORDER, DOCUMENT, order(json!({"id": "o-1", "amount": 1}))).await;
    assert_eq!(command(&server, 0).key.unwrap(), "o-1");
    let wrong = order(json!({"id": "o-1", "amount": -1}));
    let problem = client.post(ORDER, DOCUMENT, wrong).await.assert_problem(422, "invalid_command");
    assert_eq!(
        (&problem["field"], &problem["errors"][0]["pointer"]),
        (&json!("/data/amount"), &json!("/data/amount"))
    );
    let problem = client
        .post(ORDER, LEAST, "{\"id\":\"o-1\",\"amount\":-1}")
        .await
        .assert_problem(422, "invalid_command");
    assert_eq!(problem["field"], "/amount");
    client.post(ORDER, LEAST, "").await.assert_problem(422, "invalid_command");
    client.post(ORDER, LEAST, "[1]").await.assert_problem(400, "malformed_body");
    client.post(BINARY, LEAST, "no JSON").await.assert_problem(400, "malformed_body");
    accepted(&mut client, BINARY, LEAST, "[1]").await;
}

#[tokio::test]
async fn batch_is_accepted_completely_or_all_errors_reported() {
    let server = serve().await;
    let mut client = server.connect().await;
    let batch = |events: &[Value]| Value::from(events.to_vec()).to_string();
    let (one, two) = (
        event(&json!({"data": 1})),
        event(&json!({"id": "2", "data_base64": "AP8=", "datacontenttype": "text/plain"})),
    );
    let reply = client.post(BINARY, BATCH, batch(&[one.clone(), two])).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let ids = reply.json()["commands"].clone();
    assert_eq!(ids, json!([{"id": FakeLog::id(0).to_string()}, {"id": FakeLog::id(1).to_string()}]));
    let submitted = server.log.submitted().remove(0);
    let values: Vec<_> = submitted.commands.iter().map(|one| &*one.value).collect();
    assert_eq!(values, [&b"1"[..], b"\0\xff"]);

    let wrong = [
        one.clone(),
        json!({"id": "3"}),
        json!(5),
        event(&json!({"datacontenttype": "image/png", "data": "x"})),
    ];
    let problem = client.post(BINARY, BATCH, batch(&wrong)).await.assert_problem(400, "invalid_event");
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["pointer"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["/1/specversion", "/1/source", "/1/type", "/2", "/3/datacontenttype"]);
    let twice = r#"[{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}]"#;
    let problem = client.post(BINARY, BATCH, twice).await.assert_problem(400, "malformed_body");
    assert_eq!(problem["errors"][0]["pointer"], "/0", "the name of a member is not a pointer: {problem}");
    for malformed in ["{}", "[", "[1]x"] {
        client.post(BINARY, BATCH, malformed).await.assert_problem(400, "malformed_body");
    }
    let many = format!("[{}1]", "1,".repeat(10_000));
    client.post(BINARY, BATCH, many).await.assert_problem(413, "too_many_lines");
    assert_eq!(server.log.submitted().len(), 1);
}

#[tokio::test]
async fn empty_event_batch_is_accepted_and_not_logged() {
    let server = serve().await;
    let reply = server.connect().await.post(BINARY, BATCH, " [ ] ").await;
    assert_eq!((reply.status, &reply.json()["commands"]), (202, &json!([])));
    server.assert_nothing_submitted();
}

#[tokio::test]
async fn source_and_id_identify_repeated_events_in_all_modes() {
    let server = serve().await;
    let mut client = server.connect().await;
    let typed = format!("{LEAST}Content-Type: application/json\r\n");
    accepted(&mut client, BINARY, &typed, "{\"a\":1}").await;
    accepted(&mut client, BINARY, DOCUMENT, event(&json!({"data": {"a": 1}})).to_string()).await;
    accepted(&mut client, BINARY, &format!("{typed}ce-more: 1\r\n"), "{\"a\":1}").await;
    accepted(&mut client, BINARY, &format!("{typed}Idempotency-Key: own\r\n"), "{\"a\":1}").await;
    accepted(&mut client, BINARY, &typed.replace("ce-id: 1", "ce-id: 2"), "{\"a\":1}").await;
    let bound: Vec<_> = server.log.submitted().into_iter().map(|one| one.idempotency.unwrap()).collect();
    assert_eq!((&bound[0].key, &bound[0].body), (&bound[1].key, &bound[1].body));
    assert_eq!(bound[0].key, bound[2].key);
    assert_ne!(bound[0].body, bound[2].body, "a different event with the same source and id is a conflict");
    assert_eq!((&*bound[3].key, &bound[3].body), ("own", &bound[0].body));
    assert_ne!(bound[4].key, bound[0].key);
}

#[tokio::test]
async fn event_trace_is_used_if_the_request_has_none() {
    let server = serve().await;
    let mut client = server.connect().await;
    accepted(&mut client, BINARY, &format!("{LEAST}ce-traceparent: {TRACE}\r\n"), "").await;
    let other = TRACE.replace("4bf9", "5bf9");
    accepted(&mut client, BINARY, &format!("{LEAST}ce-traceparent: {TRACE}\r\ntraceparent: {other}\r\n"), "")
        .await;
    accepted(&mut client, BINARY, &format!("{LEAST}ce-traceparent: no trace\r\n"), "").await;
    let traces: Vec<_> = server.log.submitted().into_iter().map(|one| one.traceparent).collect();
    assert_eq!(traces, [Some(TRACE.to_owned()), Some(other), None]);
    let kept = headers(&command(&server, 1));
    assert!(
        kept.contains(&("ce_traceparent".to_owned(), TRACE.to_owned())),
        "the event is unchanged: {kept:?}"
    );
}

#[tokio::test]
async fn document_attribute_of_64_kib_is_accepted_and_counted() {
    let server =
        serve_with(Config { max_body: ByteSize::mib(2), max_batch_body: ByteSize::mib(2), ..config() }).await;
    let mut client = server.connect().await;
    let long = "x".repeat(64 << 10);
    accepted(&mut client, BINARY, DOCUMENT, event(&json!({"subject": long})).to_string()).await;
    assert!(headers(&command(&server, 0)).contains(&("ce_subject".to_owned(), long.clone())));
    let in_headers = format!("{LEAST}ce-subject: {long}\r\n");
    client.post(BINARY, &in_headers, "").await.assert_problem(431, "headers_too_large");
    let mut client = server.connect().await;
    let attributes: serde_json::Map<_, _> = (0..20).map(|n| (format!("a{n}"), json!(long))).collect();
    let huge = event(&Value::Object(attributes)).to_string();
    client.post(BINARY, DOCUMENT, huge).await.assert_problem(413, "record_too_large");
    assert_eq!(server.log.submitted().len(), 1);
}

#[tokio::test]
async fn description_lists_event_formats() {
    let server = serve().await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let post = &described["paths"][BINARY]["post"];
    let content = post["requestBody"]["content"].as_object().unwrap();
    assert!(content.contains_key("application/cloudevents+json"));
    assert!(content.contains_key("application/cloudevents-batch+json"));
    let parameters = post["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|one| one["name"] == "ce-specversion"));
}

#[tokio::test]
async fn description_explains_data_and_key_of_events() {
    let server = serve().await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let describes = |path: &str, texts: &[&str]| {
        let description = described["paths"][path]["post"]["description"].as_str().unwrap();
        assert!(texts.iter().all(|text| description.contains(text)), "{description}");
    };
    let body = |path: &str| described["paths"][path]["post"]["requestBody"].clone();
    describes(BINARY, &["The data may be any JSON value", "The attribute `partitionkey` is the key"]);
    describes(ORDER, &["The data must satisfy", "The value at `/id` in the data is the key"]);
    describes(PLUS, &["The data may be any JSON value.", "The attribute `partitionkey` is the key"]);
    let required = |path: &str| body(path)["required"] == true;
    assert!(required(ORDER), "the key is in the data");
    assert!(!required(BINARY) && !required(PLUS), "an event may have no data");
    assert!(body(PLUS)["content"]["application/vnd.a+json"]["example"].is_object());
    let schema =
        body(BINARY)["content"]["application/json"]["schema"]["$ref"].as_str().unwrap()[1..].to_owned();
    assert_eq!(described.pointer(&schema).unwrap()["type"], Value::Null, "any value, not only an object");
}
