//! CloudEvents, from HTTP to a real Kafka: attributes, data, and recognition of repeated events.

use serde_json::{Value, json};

use crate::daemon::{await_drained, metric};
use crate::requests::{await_sent, daemon, id, ids, is_replay, refusal};
use support::admin::unique_name;
use support::consume::{Record, read_all};
use support::http::{Client, Response};
use support::process::Forebay;
use support::services;

const DOCUMENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const PATHS: [&str; 2] = ["/v1/commands/binary.store", "/v1/commands/structured.store"];

/// A daemon with one kind per CloudEvents mode of Kafka, and their topics.
fn stage(bootstrap: &str) -> (Forebay, [String; 2]) {
    let topics = [unique_name("binary"), unique_name("structured")];
    let mut forebay = daemon().set("kafka.brokers", bootstrap);
    for (mode, topic) in ["binary", "structured"].iter().zip(&topics) {
        let types = "content_types = [\"application/json\", \"application/octet-stream\", \"text/xml\"]";
        forebay = forebay.toml(&format!(
            "[[kinds]]\nname = \"{mode}.store\"\ntopic = \"{topic}\"\ncloudevents = \"{mode}\"\n{types}\n"
        ));
    }
    forebay.start();
    (forebay, topics)
}

fn post(http: &mut Client, path: &str, content_type: &str, body: &Value) -> Response {
    http.request("POST", path, &[("Content-Type", content_type)], body.to_string().as_bytes()).unwrap()
}

fn event(id: &str, more: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/größe", "type": "t"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

/// The record of a command.
fn of<'r>(records: &'r [Record], id: &str) -> &'r Record {
    records.iter().find(|record| record.header("forebay-command-id") == Some(id)).expect("its record")
}

#[test]
fn events_reach_kafka_with_all_attributes_in_the_configured_mode() {
    let test = "events_reach_kafka_with_all_attributes_in_the_configured_mode";
    let Some(bootstrap) = services::shared_kafka(test) else { return };
    let (forebay, topics) = stage(&bootstrap);
    let http = &mut forebay.http();
    let long = "x".repeat(64 << 10);
    let bytes: Vec<u8> = (0..=255).collect();
    for (path, topic) in PATHS.iter().zip(&topics) {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "%22quoted%22%20%F0%9F%98%80"),
            ("ce-source", "/gr%C3%B6%C3%9Fe"),
            ("ce-type", "t"),
            ("ce-partitionkey", "k-1"),
            ("Content-Type", "application/octet-stream"),
        ];
        let raw = id(&http.request("POST", path, &headers, &bytes).unwrap());
        let base64 =
            event("2", json!({"datacontenttype": "application/octet-stream", "data_base64": "AP8K"}));
        let base64 = id(&post(http, path, DOCUMENT, &base64));
        let large = id(&post(http, path, DOCUMENT, &event("3", json!({"subject": long, "n": 5, "b": true}))));
        let xml = event("4", json!({"datacontenttype": "text/xml", "data": "<ö/>"}));
        let xml = id(&post(http, path, DOCUMENT, &xml));
        await_drained(&forebay);
        let records = read_all(&bootstrap, topic);
        assert_eq!(records.len(), 4);
        assert_eq!(of(&records, &raw).key.as_deref(), Some(&b"k-1"[..]));
        if *topic == topics[0] {
            let record = of(&records, &raw);
            assert_eq!(record.value.as_deref(), Some(&bytes[..]));
            assert_eq!(record.header("ce_id"), Some("\"quoted\" 😀"));
            assert_eq!(record.header("ce_source"), Some("/größe"));
            assert_eq!(record.header("content-type"), Some("application/octet-stream"));
            assert_eq!(of(&records, &base64).value.as_deref(), Some(&b"\0\xff\n"[..]));
            let record = of(&records, &large);
            assert_eq!(
                (record.header("ce_subject"), &record.value),
                (Some(&*long), &None),
                "no data, no value"
            );
            assert_eq!((record.header("ce_n"), record.header("ce_b")), (Some("5"), Some("true")));
            assert_eq!(record.header("content-type"), None);
            assert_eq!(of(&records, &xml).text(), "<ö/>");
        } else {
            let document = |id: &str| -> Value { serde_json::from_str(&of(&records, id).text()).unwrap() };
            let one = document(&raw);
            assert_eq!(
                (&one["id"], &one["data_base64"].as_str().unwrap().len()),
                (&json!("\"quoted\" 😀"), &344)
            );
            assert_eq!(document(&large)["subject"], long);
            assert_eq!(document(&xml)["data"], "<ö/>", "unchanged");
            let types = records.iter().map(|record| record.header("content-type"));
            assert!(types.eq([Some("application/cloudevents+json; charset=UTF-8"); 4]));
        }
    }
}

#[test]
fn a_repeated_event_is_accepted_once_even_after_a_crash() {
    let test = "a_repeated_event_is_accepted_once_even_after_a_crash";
    let Some(bootstrap) = services::shared_kafka(test) else { return };
    let (mut forebay, topics) = stage(&bootstrap);
    let one = event("1", json!({"data": {"a": 1}}));
    let first = id(&post(&mut forebay.http(), PATHS[0], DOCUMENT, &one));
    let batch = json!([event("2", json!({})), event("3", json!({}))]);
    let both = ids(&post(&mut forebay.http(), PATHS[0], BATCH, &batch));
    for restarted in [false, true] {
        if restarted {
            forebay.kill();
            forebay.start();
        }
        let http = &mut forebay.http();
        let again = post(http, PATHS[0], DOCUMENT, &one);
        assert!(is_replay(&again) && id(&again) == first, "{}", again.text());
        let again = post(http, PATHS[0], BATCH, &batch);
        assert!(is_replay(&again) && ids(&again) == both, "{}", again.text());
    }
    // Without a token it may come from another client: both are kept.
    let http = &mut forebay.http();
    let other = id(&post(http, PATHS[0], DOCUMENT, &event("1", json!({"data": {"a": 2}}))));
    assert_ne!(other, first);
    await_sent(http, &other);
    await_drained(&forebay);
    let records = read_all(&bootstrap, &topics[0]);
    let key = |id: &str| of(&records, id).header("forebay-idempotency-key").expect("a key").to_owned();
    assert_eq!(key(&first), key(&other), "built from source and id");
    assert!(records.len() >= 4, "{records:?}");
}

#[test]
fn one_invalid_event_rejects_the_whole_batch() {
    let types = "cloudevents = \"binary\"";
    let mut forebay =
        daemon().toml(&format!("[[kinds]]\nname = \"binary.store\"\ntopic = \"e.v1\"\n{types}\n"));
    forebay.start();
    let http = &mut forebay.http();
    let mut events: Vec<_> = (0..1_000).map(|n| event(&n.to_string(), json!({"data": n}))).collect();
    events[700]["specversion"] = Value::Null;
    let answer = post(http, PATHS[0], BATCH, &Value::from(events.clone()));
    assert_eq!(refusal(&answer), (400, "invalid_event".to_owned()));
    assert_eq!(
        answer.json()["errors"],
        json!([{"pointer": "/700/specversion", "detail": "specversion is missing"}])
    );
    assert_eq!(metric(&forebay, "forebay_wal_append_total"), 0.0);
    events[700]["specversion"] = json!("1.0");
    let accepted = ids(&post(http, PATHS[0], BATCH, &Value::from(events)));
    assert_eq!(accepted.len(), 1_000);
    await_drained(&forebay);
    let broker = crate::daemon::embedded_broker(&forebay);
    let records = read_all(&broker, "e.v1");
    assert_eq!(records.len(), 1_000);
    assert_eq!(of(&records, &accepted[700]).text(), "700");
}
