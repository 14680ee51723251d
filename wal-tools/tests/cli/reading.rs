//! status, segments, list, show, tail: their output, and that they change nothing.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use crate::support::*;
use forebay_wal::Lsn;
use forebay_wal::control::{Operator, Server};
use serde_json::{Value, json};

/// 60 orders in several segments, and three users. Orders 5, 59 and 60 wait, 7 is a dead letter, the others are
/// confirmed.
fn busy(dir: &std::path::Path) -> TestLog {
    let mut daemon = TestLog::start(dir);
    daemon.accept_many(60);
    daemon.confirm((1..=58).filter(|&lsn| lsn != 5 && lsn != 7));
    daemon.store_dead_letter(Lsn(7), "too large");
    daemon.checkpoint();
    for name in ["ada", "bob", "eve"] {
        daemon.accept("user.create", name);
    }
    daemon
}

#[test]
fn status_counts_the_backlog_by_kind_and_segment() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = busy(dir.path());
    let status = run(dir.path(), &["status", "--json"]).assert_exit(0).json();
    for (name, value) in [
        ("backlog", json!(6)),
        ("dead", json!(1)),
        ("poisoned", json!(false)),
        ("watermark_lsn", json!(5)),
        ("segments", json!(daemon.log.segments().len())),
        ("running", json!(true)),
        ("source", json!("checkpoint")),
        ("kinds", json!({ "order.create": 3, "user.create": 3 })),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    assert!(status["backlog_bytes"].as_u64().unwrap() >= 6 * 100);
    assert!(status["oldest_age_seconds"].as_f64().unwrap() >= 0.0);
    assert!(status["checkpoint_age_seconds"].is_f64());
    let waiting = status["waiting_segments"].as_array().unwrap();
    assert_eq!(waiting.iter().map(|segment| segment["backlog"].as_u64().unwrap()).sum::<u64>(), 6);
    assert_eq!(waiting[0]["first_lsn"], 1);
    let human = run(dir.path(), &["status"]).assert_exit(0).out;
    for words in ["6 records", "user.create", "all records below 5 are done", "running"] {
        assert!(human.contains(words), "{words}: {human}");
    }
}

#[test]
fn status_lists_the_problems_that_the_files_show() {
    let dir = tempfile::tempdir().unwrap();
    drop(busy(dir.path()));
    let status = run(dir.path(), &["status", "--json"]).assert_exit(0).json();
    assert_eq!(status["last_error"], "too large", "{status}");
    let problem = &status["problems"][0];
    assert_eq!((&problem["code"], &problem["last_error"]), (&json!("dead_letters"), &json!("too large")));
    assert_eq!(problem["runbook"], "docs/runbook.md#dead_letters");
    let human = run(dir.path(), &["status"]).assert_exit(0).out;
    assert!(human.contains("dead_letters") && human.contains("too large"), "{human}");
}

#[test]
fn a_log_without_problems_shows_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(3);
    daemon.checkpoint();
    drop(daemon);
    let status = run(dir.path(), &["status", "--json"]).assert_exit(0).json();
    assert_eq!((&status["last_error"], &status["problems"]), (&json!(null), &json!([])));
}

#[test]
fn status_agrees_with_what_a_start_counts() {
    let dir = tempfile::tempdir().unwrap();
    drop(busy(dir.path()));
    let status = run(dir.path(), &["status", "--json"]).assert_exit(0).json();
    assert_eq!(status["running"], false);
    let figures = TestLog::start(dir.path()).log.backlog_stats();
    assert_eq!(status["backlog"], figures.backlog);
    assert_eq!(status["backlog_bytes"], figures.backlog_bytes);
    assert_eq!(status["watermark_lsn"], figures.watermark.0);
}

struct FakeOperator;

impl Operator for FakeOperator {
    fn status(&self) -> Value {
        let detail = "no broker of kafka:9092 answers";
        let problem = json!({ "code": "kafka_unreachable", "since": "2026-11-20T12:00:00.000Z", "detail": detail,
                              "last_error": "broker away", "runbook": "docs/runbook.md#kafka_unreachable" });
        json!({ "backlog": 41, "poisoned": true, "last_error": "broker away", "problems": [problem] })
    }

    fn requeue(&self, _: Lsn, _: &str) -> Result<Lsn, String> {
        Err("not asked here".to_owned())
    }

    fn replay(&self, _: &[Lsn], _: &str) -> Vec<forebay_wal::control::RecordOutcome> {
        Vec::new()
    }

    fn drop_dead_letter(&self, _: Lsn, _: &str) -> Result<(), String> {
        Err("not asked here".to_owned())
    }
}

#[test]
fn status_prefers_the_figures_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = busy(dir.path());
    let server = Server::start(dir.path(), Arc::new(FakeOperator)).unwrap();
    let status = run(dir.path(), &["status", "--json"]).assert_exit(0).json();
    assert_eq!((&status["backlog"], &status["source"]), (&json!(41), &json!("daemon")));
    assert_eq!((&status["poisoned"], &status["watermark_lsn"]), (&json!(true), &json!(5)));
    assert_eq!(status["last_error"], "broker away");
    assert_eq!(status["problems"].as_array().unwrap().len(), 1, "the daemon's own: {status}");
    let human = run(dir.path(), &["status"]).assert_exit(0).out;
    assert!(
        human.contains("kafka_unreachable") && human.contains("no broker of kafka:9092 answers"),
        "{human}"
    );
    assert!(human.contains("broker away") && human.contains("exact") && human.contains("YES"), "{human}");
    server.stop();
}

#[test]
fn segments_shows_state_and_checksum_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = busy(dir.path());
    let keep = forebay_wal::Retention { age: std::time::Duration::from_secs(3600), size: u64::MAX };
    daemon.log.run_maintenance(keep, forebay_wal::units::Timestamp::now()).unwrap();
    let rows = run(dir.path(), &["--json", "segments"]).assert_exit(0).lines();
    assert_eq!(rows.len(), daemon.log.segments().len());
    assert_eq!(rows[0]["state"], "pending", "record 5 holds it");
    assert_eq!(rows[1]["state"], "acked");
    assert_eq!(rows.last().unwrap()["state"], "open");
    let mut next = 1;
    for row in &rows {
        assert_eq!((&row["checksum"], &row["first_lsn"]), (&json!("ok"), &json!(next)));
        next = row["last_lsn"].as_u64().unwrap() + 1;
        assert_eq!(row["sealed"], row["state"] != "open");
    }
    assert_eq!(next, 64);
    let human = run(dir.path(), &["segments"]).assert_exit(0).out;
    assert!(human.lines().next().unwrap().contains("CHECKSUM"), "{human}");
    assert_eq!(human.lines().count(), rows.len() + 1);
}

#[test]
fn list_shows_every_record_with_its_state_newest_last() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = busy(dir.path());
    let run_all = run(dir.path(), &["list", "--json"]).assert_exit(0);
    assert!(!run_all.out.contains("hunter2"));
    let rows = run_all.lines();
    let lsns: Vec<_> = rows.iter().map(|row| row["lsn"].as_u64().unwrap()).collect();
    assert_eq!(lsns, (1..=63).collect::<Vec<_>>());
    assert_eq!((&rows[0]["state"], &rows[0]["kafka"]["offset"]), (&json!("sent"), &json!(1001)));
    assert_eq!((&rows[4]["state"], &rows[4]["key"]), (&json!("accepted"), &json!("o-5")));
    assert_eq!((&rows[6]["state"], &rows[6]["reason"]), (&json!("dead"), &json!("too large")));
    assert_eq!(rows[62]["kind"], "user.create");
    for name in ["lsn", "id", "kind", "key", "accepted_at", "state", "bytes"] {
        assert!(!rows[0][name].is_null(), "{name}");
    }
    let human = run(dir.path(), &["list"]).assert_exit(0).out;
    assert!(!human.contains("hunter2") && human.contains("o-60"));
    assert_eq!(human.lines().count(), 64);
}

#[test]
fn list_applies_its_filters() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = busy(dir.path());
    let lsns = |args: &[&str]| -> Vec<u64> {
        let rows = run(dir.path(), &[&["--json", "list"], args].concat()).assert_exit(0).lines();
        rows.iter().map(|row| row["lsn"].as_u64().unwrap()).collect()
    };
    assert_eq!(lsns(&["--kind", "user.create"]), [61, 62, 63]);
    assert_eq!(lsns(&["--key", "o-9"]), [9]);
    assert_eq!(lsns(&["--state", "accepted"]), [5, 59, 60, 61, 62, 63]);
    assert_eq!(lsns(&["--state", "dead"]), [7]);
    assert_eq!(lsns(&["--limit", "2"]), [62, 63]);
    assert_eq!(lsns(&["--limit", "2", "--kind", "order.create"]), [59, 60]);
    assert!(lsns(&["--limit", "0"]).is_empty());
    assert_eq!(lsns(&["--since", "1h"]).len(), 63);
    assert!(lsns(&["--until", "1h"]).is_empty());
    let fifth = run(dir.path(), &["--json", "show", "5"]).json()["accepted_at"].as_str().unwrap().to_owned();
    assert!(lsns(&["--since", &fifth]).contains(&5) && !lsns(&["--until", &fifth]).contains(&5));
    run(dir.path(), &["list", "--since", "yesterday"]).assert_exit(2);
}

#[test]
fn show_finds_a_record_by_number_and_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = busy(dir.path());
    let (lsn, id) = daemon.accept("order.create", "last");
    for what in [lsn.to_string(), id.to_string(), id.to_string().to_lowercase()] {
        let shown = run(dir.path(), &["--json", "show", &what]).assert_exit(0);
        assert!(!shown.out.contains("hunter2"));
        assert_eq!(shown.json()["lsn"], lsn.0);
        assert_eq!(shown.json()["topic"], "orders.v1");
    }
    let human = run(dir.path(), &["show", &id.to_string(), "--payload"]).assert_exit(0).out;
    assert!(human.contains("hunter2") && human.contains("orders.v1"), "{human}");
    let json = run(dir.path(), &["show", "3", "--payload", "--json"]).assert_exit(0).json();
    assert_eq!(json["payload"], "{\"id\":\"o-3\",\"secret\":\"hunter2\"}");
}

#[test]
fn show_explains_why_a_record_is_missing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _daemon = busy(dir.path());
    let foreign = TestLog::start(other.path()).accept("order.create", "x").1;
    for (what, why) in [
        ("64", "the next is 64"),
        (&foreign.to_string()[..], "another log"),
        ("nonsense", "neither an LSN nor a command id"),
    ] {
        let shown = run(dir.path(), &["show", what]).assert_exit(2);
        assert!(shown.err.contains(why) && shown.out.is_empty(), "{shown:?}");
    }
}

#[test]
fn tail_shows_the_last_records_and_follows_over_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = busy(dir.path());
    let last = run(dir.path(), &["--json", "tail", "-n", "3"]).assert_exit(0).lines();
    assert_eq!(last.iter().map(|row| row["lsn"].as_u64().unwrap()).collect::<Vec<_>>(), [61, 62, 63]);
    let mut child =
        command(dir.path(), &["--json", "tail", "-f", "-n", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lsn = || {
        let row: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        row["lsn"].as_u64().unwrap()
    };
    assert_eq!(lsn(), 63);
    let before = daemon.log.segments().len();
    for group in 0..12 {
        daemon.accept_many(20);
        (0..20).for_each(|n| assert_eq!(lsn(), 64 + group * 20 + n));
    }
    assert!(daemon.log.segments().len() > before + 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn reading_never_changes_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = busy(dir.path());
    let read_all = || {
        let before = fingerprint(dir.path());
        for args in [
            &["status"][..],
            &["segments"],
            &["list"],
            &["show", "5", "--payload"],
            &["tail"],
            &["verify"],
            &["verify", "--deep"],
            &["dead", "list"],
            &["dead", "show", "7"],
            &["dead", "requeue", "--all"],
            &["dead", "drop", "7"],
        ] {
            let run = run(dir.path(), args);
            assert_ne!(run.code, Some(2), "{run:?}");
            assert!(before == fingerprint(dir.path()), "{args:?} changed something");
        }
    };
    read_all();
    drop(daemon);
    read_all();
}
