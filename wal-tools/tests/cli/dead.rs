//! dead list, show, requeue, drop: as a plan, through a daemon, and without one.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::support::*;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::control::{Operator, Server};
use forebay_wal::dead_letters::DamagedRange;
use forebay_wal::units::Timestamp;
use forebay_wal::{Lsn, RecordState};
use serde_json::{Value, json};

/// Ten orders: 3 and 4 are dead letters, the others are sent.
fn log(dir: &Path) -> (TestLog, Vec<CommandId>) {
    let mut daemon = TestLog::start(dir);
    let ids = daemon.accept_many(10);
    daemon.store_dead_letter(Lsn(3), "too large");
    daemon.store_dead_letter(Lsn(4), "topic is unknown");
    daemon.confirm((1..=10).filter(|lsn| ![3, 4].contains(lsn)));
    daemon.checkpoint();
    (daemon, ids)
}

fn damage(daemon: &TestLog) {
    let found_at = Timestamp::now();
    let (segment, reason) = ("00000000000000000011.wal".to_owned(), "bad sector".to_owned());
    daemon
        .log
        .dead_letters()
        .add_damage(DamagedRange { lsn_from: 11, lsn_to: 20, segment, reason, found_at })
        .unwrap();
}

#[test]
fn without_dead_letters_the_list_is_empty_and_fine() {
    let dir = tempfile::tempdir().unwrap();
    TestLog::start(dir.path()).accept_many(1);
    assert_eq!(run(dir.path(), &["--json", "dead", "list"]).assert_exit(0).out, "");
    run(dir.path(), &["dead", "requeue", "--all", "--apply"]).assert_exit(0);
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, ids) = log(dir.path());
    damage(&daemon);
    let rows = run(dir.path(), &["--json", "dead", "list"]).assert_exit(1).lines();
    assert_eq!(rows.len(), 3);
    for (name, value) in [
        ("lsn", json!(3)),
        ("id", json!(ids[2].to_string())),
        ("kind", json!("order.create")),
        ("key", json!("o-3")),
        ("reason", json!("too large")),
        ("attempts", json!(2)),
    ] {
        assert_eq!(rows[0][name], value);
    }
    assert!(rows[0]["died_at"].is_string());
    let damaged = &rows[2];
    assert_eq!((&damaged["kind"], &damaged["lsn_from"]), (&json!("damaged"), &json!(11)));
    assert_eq!((&damaged["lsn_to"], &damaged["reason"]), (&json!(20), &json!("bad sector")));
    let human = run(dir.path(), &["dead", "list"]).assert_exit(1).out;
    assert!(human.contains("topic is unknown") && human.contains("11-20"), "{human}");
    let shown = run(dir.path(), &["dead", "show", &ids[3].to_string()]).assert_exit(0).out;
    assert!(shown.contains("topic is unknown") && !shown.contains("hunter2"), "{shown}");
    assert!(run(dir.path(), &["dead", "show", "4", "--payload"]).assert_exit(0).out.contains("hunter2"));
    run(dir.path(), &["dead", "show", "5"]).assert_exit(2);
}

#[test]
fn without_apply_only_a_plan_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path()));
    let before = fingerprint(dir.path());
    let plan = run(dir.path(), &["--json", "dead", "requeue", "--all"]).assert_exit(0);
    let expected = [3, 4].map(|lsn| json!({ "lsn": lsn, "action": "requeue", "applied": false }));
    assert_eq!(plan.lines(), expected);
    assert!(plan.err.contains("after later records of its key") && plan.err.contains("--apply"), "{plan:?}");
    assert!(before == fingerprint(dir.path()));
    run(dir.path(), &["dead", "drop"]).assert_exit(2);
}

#[test]
fn a_letter_requeued_offline_is_delivered_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, ids) = log(dir.path());
    drop(daemon);
    let id = ids[2].to_string();
    let done = run(dir.path(), &["--json", "dead", "requeue", &id, "--apply"]).assert_exit(0).lines();
    assert_eq!(done, [json!({ "lsn": 3, "action": "requeue", "applied": true, "requeued_as": 11 })]);
    let shown = run(dir.path(), &["--json", "show", &id]).assert_exit(0).json();
    assert_eq!((&shown["lsn"], &shown["state"]), (&json!(11), &json!("accepted")));
    assert_eq!(shown["requeued_from"], 3);
    assert_eq!(run(dir.path(), &["--json", "show", "3"]).assert_exit(0).json()["requeued_as"], 11);
    run(dir.path(), &["verify", "--deep"]).assert_exit(0);
    let daemon = TestLog::start(dir.path());
    let mut cursor = daemon.log.cursor(Lsn(0));
    let frame = cursor.next(|_, _| true).unwrap().unwrap();
    let envelope = Envelope::decode(frame.payload).unwrap();
    assert_eq!((frame.lsn, envelope.id, envelope.requeued_from), (Lsn(11), ids[2], Some(Lsn(3))));
    assert!(cursor.next(|_, _| true).unwrap().is_none(), "nothing else waits");
    assert_eq!(daemon.log.record_state(Lsn(3)).unwrap(), RecordState::Requeued(Lsn(11)));
}

#[test]
fn letters_dropped_offline_stay_dropped_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _) = log(dir.path());
    damage(&daemon);
    drop(daemon);
    let dropped = run(dir.path(), &["--json", "dead", "drop", "--all", "--apply"]).assert_exit(0);
    assert!(dropped.err.contains("kept in quarantine/dead-letters.1"), "{dropped:?}");
    let done = dropped.lines();
    assert!(done.len() == 3 && done.iter().all(|row| row["applied"] == true), "{done:?}");
    run(dir.path(), &["dead", "list"]).assert_exit(0);
    let shown = run(dir.path(), &["--json", "show", "4"]).assert_exit(0).json();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("dead"), &json!("dropped by an operator")));
    assert_eq!(TestLog::start(dir.path()).log.backlog_stats().backlog, 0);
}

#[test]
fn dropped_letters_can_be_read_in_their_copy() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(log(dir.path()));
    run(dir.path(), &["dead", "drop", "4"]).assert_exit(0);
    assert!(!dir.path().join("quarantine/dead-letters.1").exists(), "a plan copies nothing");
    run(dir.path(), &["dead", "drop", "4", "--apply"]).assert_exit(0);
    for name in ["pending", "acked", "dead"] {
        std::fs::create_dir(copy.path().join(name)).unwrap();
    }
    std::fs::copy(dir.path().join("quarantine/dead-letters.1"), copy.path().join("dead/letters")).unwrap();
    let rows = run(copy.path(), &["--json", "dead", "list"]).assert_exit(1).lines();
    assert_eq!((rows.len(), &rows[0]["lsn"]), (1, &json!(4)));
    assert!(run(copy.path(), &["dead", "show", "4", "--payload"]).assert_exit(0).out.contains("hunter2"));
}

#[test]
fn a_damaged_range_is_skipped_when_others_are_requeued() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _) = log(dir.path());
    damage(&daemon);
    drop(daemon);
    let refused = run(dir.path(), &["dead", "requeue", "11", "--apply"]).assert_exit(2);
    assert!(refused.err.contains("no record"), "{refused:?}");
    let all = run(dir.path(), &["--json", "dead", "requeue", "--all", "--apply"]).assert_exit(0);
    assert_eq!(all.lines().len(), 2);
    assert!(all.err.contains("1 damaged"), "{all:?}");
}

#[test]
fn a_drop_refuses_a_log_in_use_without_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = log(dir.path());
    let refused = run(dir.path(), &["dead", "drop", "3", "--apply"]).assert_exit(2);
    assert!(refused.err.contains("in use by process"), "{refused:?}");
    assert_eq!(run(dir.path(), &["--json", "dead", "list"]).assert_exit(1).lines().len(), 2);
}

/// Records its requests, and fails to requeue 4.
#[derive(Default)]
struct RecordingOperator(Mutex<Vec<String>>);

impl Operator for RecordingOperator {
    fn status(&self) -> Value {
        json!({})
    }

    fn requeue(&self, lsn: Lsn, _: &str) -> Result<Lsn, String> {
        self.0.lock().unwrap().push(format!("requeue {lsn}"));
        if lsn == Lsn(4) { Err("the disk is full".to_owned()) } else { Ok(Lsn(77)) }
    }

    fn replay(&self, _: &[Lsn], _: &str) -> Vec<forebay_wal::control::RecordOutcome> {
        Vec::new()
    }

    fn drop_dead_letter(&self, lsn: Lsn, _: &str) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("drop {lsn}"));
        Ok(())
    }
}

#[test]
fn a_running_daemon_requeues_and_its_refusal_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = log(dir.path());
    let asked = Arc::new(RecordingOperator::default());
    let server = Server::start(dir.path(), Arc::<RecordingOperator>::clone(&asked)).unwrap();
    let done = run(dir.path(), &["--json", "dead", "requeue", "--all", "--apply"]).assert_exit(2);
    let rows = done.lines();
    assert_eq!((&rows[0]["requeued_as"], &rows[1]["error"]), (&json!(77), &json!("the disk is full")));
    assert!(done.err.contains("1 of 2"), "{done:?}");
    run(dir.path(), &["dead", "drop", "3"]).assert_exit(0);
    run(dir.path(), &["dead", "drop", "3", "--apply"]).assert_exit(0);
    server.stop();
    assert_eq!(*asked.0.lock().unwrap(), ["requeue 3", "requeue 4", "drop 3"]);
}
