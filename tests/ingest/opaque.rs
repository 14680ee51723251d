//! Bodies that are not JSON, byte for byte from the request to Kafka: after a crash, encrypted, dead-lettered and
//! requeued.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use forebay::control;
use forebay::wal::Keys;
use forebay::wal::dead_letters::DeadLetterStore;
use forebay::wal::fs::RealFs;

use crate::daemon::{await_drained, backlog_value};
use crate::requests::{NO_KAFKA, await_sent, daemon, id, is_replay, refusal, status};
use support::admin::{Admin, unique_name};
use support::consume::{Record, read_all};
use support::http::{Client, Response};
use support::process::Forebay;
use support::{scratch, services};

const FILES: &str = "/v1/commands/file.store";
const AVRO: &str = "application/avro; schema=\"5\"";

/// A kind with opaque bodies and its key in a header.
fn kind(topic: &str) -> String {
    let types =
        "content_types = [\"application/avro\", \"application/octet-stream\"]\nkey_header = \"File-Name\"\n";
    format!("[[kinds]]\nname = \"file.store\"\ntopic = \"{topic}\"\n{types}")
}

/// A key file.
fn key(dir: &std::path::Path) -> PathBuf {
    let path = dir.join("key");
    fs::write(&path, "a".repeat(64) + "\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// Every byte value, some sequences that are invalid as text, and `more` further bytes.
fn body(more: usize) -> Vec<u8> {
    let special = *b"\r\n\0\xff\xfe{\"a\":1}\n";
    (0..=255).chain(special).chain((0..more).map(|n| (n * 7 % 251) as u8)).collect()
}

fn store(http: &mut Client, name: &str, body: &[u8]) -> Response {
    let headers = [("Content-Type", AVRO), ("File-Name", name), ("Idempotency-Key", "key-1")];
    http.request("POST", FILES, &headers, body).unwrap()
}

/// The only record of a topic.
fn only(bootstrap: &str, topic: &str) -> Record {
    let mut records = read_all(bootstrap, topic);
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

#[track_caller]
fn is_as_sent(record: &Record, name: &str, body: &[u8], id: &str) {
    assert!(record.value.as_deref() == Some(body), "the value differs");
    assert_eq!(record.key.as_deref(), Some(name.as_bytes()));
    assert_eq!((record.header("content-type"), record.header("forebay-command-id")), (Some(AVRO), Some(id)));
}

#[test]
fn opaque_bytes_reach_kafka_unchanged_after_crash_and_encryption() {
    let test = "opaque_bytes_reach_kafka_unchanged_after_crash_and_encryption";
    let Some(bootstrap) = services::shared_kafka(test) else { return };
    let keys = scratch::dir("keys");
    for encrypted in [false, true] {
        let topic = unique_name("files");
        let mut forebay = daemon().set("kafka.brokers", NO_KAFKA).toml(&kind(&topic));
        if encrypted {
            forebay.configure("wal.encryption_key_file", key(keys.path()).display().to_string());
        }
        forebay.start();
        let body = body(200_000);
        let first = id(&store(&mut forebay.http(), "größe/1", &body));
        forebay.kill();
        forebay.configure("kafka.brokers", &*bootstrap);
        forebay.start();
        let http = &mut forebay.http();
        let again = store(http, "größe/1", &body);
        assert!(is_replay(&again) && id(&again) == first, "{}", again.text());
        assert_eq!(await_sent(http, &first)["key"], "größe/1");
        is_as_sent(&only(&bootstrap, &topic), "größe/1", &body, &first);
    }
}

#[test]
fn an_oversized_body_becomes_a_dead_letter_and_is_requeued() {
    let test = "an_oversized_body_becomes_a_dead_letter_and_is_requeued";
    let Some(bootstrap) = services::shared_kafka(test) else { return };
    let (admin, topic) = (Admin::new(&bootstrap), unique_name("files"));
    admin.create_topic(&topic, 1, 1, &[("max.message.bytes", "3000")]);
    let brokers = daemon().set("kafka.brokers", &*bootstrap).set("kafka.compression", "none");
    let mut forebay = brokers.toml(&kind(&topic));
    forebay.start();
    let http = &mut forebay.http();
    let body = body(5_000);
    let large = id(&store(http, "large", &body));
    await_drained(&forebay);
    assert_eq!((&status(http, &large).json()["state"], backlog_value(&forebay, "dead")), (&"dead".into(), 1));
    admin.set_topic_config(&topic, &[("max.message.bytes", "1000000")]);
    requeue_all(&forebay);
    await_drained(&forebay);
    await_sent(http, &large);
    is_as_sent(&only(&bootstrap, &topic), "large", &body, &large);
}

fn requeue_all(forebay: &Forebay) {
    let dead = DeadLetterStore::open_read_only(Arc::new(RealFs), &forebay.wal_dir(), &Keys::default());
    let lsns = dead.unwrap().0.expect("a dead-letter store").lsns();
    match control::send_request(&forebay.wal_dir(), &control::Request::Requeue { lsns }).unwrap() {
        control::ControlResponse::Done(done) => {
            assert!(done.iter().all(|one| one.requeued_as.is_some()), "{done:?}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_invalid_for_its_kind_is_not_logged() {
    let mut forebay = daemon().toml(&kind("files.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let mut send = |headers: &[(&str, &str)]| refusal(&http.request("POST", FILES, headers, b"{}").unwrap());
    for types in ["application/json", "application/x-ndjson", "application/cloudevents+json"] {
        let refused = send(&[("Content-Type", types), ("File-Name", "a")]);
        assert_eq!(refused, (415, "unsupported_media_type".to_owned()), "{types}");
    }
    assert_eq!(send(&[("Content-Type", AVRO)]), (400, "bad_header".to_owned()));
    assert_eq!(backlog_value(&forebay, "backlog"), 0);
    assert_eq!(crate::daemon::metric(&forebay, "forebay_wal_append_total"), 0.0);
}
