//! export: every readable record with its payload, and a line for each damaged range.

use crate::support::*;
use serde_json::json;

#[test]
fn every_record_is_exported_with_its_body_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    let precise = "{\"amount\":123456789012345678901234567890.10,\r\n \"text\":\"two\\nlines\"}";
    daemon.accept_value("order.create", "a", precise.as_bytes());
    daemon.accept_value("order.create", "b", b"\xff\xfe not JSON");
    daemon.accept("order.create", "c");
    daemon.confirm([1]);
    daemon.checkpoint();
    let exported = run(dir.path(), &["export", "--format", "ndjson"]).assert_exit(0);
    assert!(exported.err.is_empty(), "{exported:?}");
    let lines = exported.lines();
    assert_eq!(lines.iter().map(|line| &line["lsn"]).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(exported.out.contains("123456789012345678901234567890.10"), "digits are kept: {exported:?}");
    assert_eq!(lines[0]["payload"]["text"], "two\nlines");
    assert_eq!((&lines[1]["payload_base64"], lines[1].get("payload")), (&json!("//4gbm90IEpTT04="), None));
    assert_eq!((&lines[0]["state"], &lines[0]["kafka"]["offset"]), (&json!("sent"), &json!(1_001)));
    assert_eq!(
        (&lines[2]["topic"], &lines[2]["payload"]["secret"]),
        (&json!("orders.v1"), &json!("hunter2"))
    );
}

#[test]
fn values_that_are_not_json_keep_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_typed("a", "application/avro", b"{\r\n}");
    daemon.accept_typed("b", "application/vnd.a+json; v=1", b"{\r\n}");
    daemon.accept_event("c");
    let lines = run(dir.path(), &["export"]).assert_exit(0).lines();
    assert_eq!((&lines[0]["payload_base64"], lines[0].get("payload")), (&json!("ew0KfQ=="), None));
    assert_eq!((&lines[1]["payload"], lines[1].get("payload_base64")), (&json!({}), None));
    assert_eq!((&lines[2]["no_value"], &lines[2]["content_type"]), (&json!(true), &json!("")));
    assert_eq!((lines[2].get("payload"), lines[2].get("payload_base64")), (None, None));
    assert_eq!(lines[2]["headers"], json!({"ce_id": "1", "ce_source": "/größe"}));
    assert!(lines[1].get("headers").is_none() && lines[1].get("no_value").is_none());
}

#[test]
fn show_prints_binary_values_in_base64() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    let (lsn, _) = daemon.accept_typed("a", "application/avro", b"\0\xff\n");
    daemon.accept_event("b");
    daemon.store_dead_letter(lsn, "record: too large");
    daemon.checkpoint();
    for command in [&["show"][..], &["dead", "show"]] {
        let arguments = [command, &["1", "--payload", "--json"]].concat();
        let shown = run(dir.path(), &arguments).assert_exit(0).json();
        assert_eq!((&shown["payload_base64"], shown.get("payload")), (&json!("AP8K"), None));
        assert_eq!((&shown["content_type"], &shown["value_bytes"]), (&json!("application/avro"), &json!(3)));
        let human = run(dir.path(), &[command, &["1", "--payload"]].concat()).assert_exit(0).out;
        assert!(human.ends_with("\nAP8K\n"), "{human}");
    }
    let human = run(dir.path(), &["show", "2"]).assert_exit(0).out;
    assert!(human.contains("ce_source") && human.contains("no_value"), "{human}");
}

#[test]
fn an_export_has_the_filters_of_list_and_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(150);
    daemon.accept("other.create", "x");
    daemon.confirm(1..=100);
    daemon.checkpoint();
    drop(daemon);
    let lsns = |args: &[&str]| {
        let args: Vec<_> = ["export"].iter().chain(args).copied().collect();
        let lines = run(dir.path(), &args).assert_exit(0).lines();
        lines.iter().map(|line| line["lsn"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lsns(&["--kind", "other.create"]), [151]);
    assert_eq!(lsns(&["--key", "o-7"]), [7]);
    assert!(lsns(&["--state", "accepted"]).into_iter().eq(101..=151));
    assert!(lsns(&["--from", "10", "--to", "120"]).into_iter().eq(10..=120));
    assert_eq!(lsns(&["--from", "10", "--to", "120", "--limit", "2"]), [119, 120]);
    assert_eq!(lsns(&["--limit", "2", "--state", "sent"]), [99, 100]);
    assert!(lsns(&["--until", "1h"]).is_empty());
    assert_eq!(lsns(&["--since", "1h"]).len(), 151);
}

#[test]
fn damage_is_a_line_on_both_outputs_and_exit_1() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(100);
    daemon.checkpoint();
    drop(daemon);
    let (path, offset, _) = record_position(dir.path(), 30);
    overwrite(&path, offset + 40, b"\xff\xff");
    let exported = run(dir.path(), &["export"]).assert_exit(1);
    assert!(exported.err.contains("records 30 to 30"), "{exported:?}");
    let lines = exported.lines();
    assert_eq!(lines.len(), 100);
    let damaged = &lines[29];
    assert_eq!(
        (&damaged["damaged"], &damaged["lsn_from"], &damaged["lsn_to"]),
        (&json!(true), &json!(30), &json!(30))
    );
    assert_eq!((&damaged["segment"], &damaged["offset"]), (&json!(name(&path)), &json!(offset)));
    assert_eq!(run(dir.path(), &["export", "--from", "31"]).assert_exit(0).lines().len(), 70);
    std::fs::remove_file(&path).unwrap();
    let exported = run(dir.path(), &["export"]).assert_exit(1);
    assert!(exported.lines().iter().any(|line| line["damaged"] == true), "a missing segment: {exported:?}");
}

#[test]
fn a_live_log_is_exported_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(60);
    let before = fingerprint(dir.path());
    assert_eq!(run(dir.path(), &["export", "--state", "accepted"]).lines().len(), 60);
    assert!(fingerprint(dir.path()) == before);
}
