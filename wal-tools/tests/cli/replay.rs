//! replay: the records of a range that are delivered again, through a daemon and without one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::control::{MAX_REPLAY, Operator, RecordOutcome, Server};
use forebay_wal::units::Timestamp;
use forebay_wal::{Lsn, RecordState, Retention};
use serde_json::{Value, json};

/// A hundred orders in `acked/` and in `pending/`: 95 to 100 wait, 3 and 4 are dead letters, the others are sent.
fn log(dir: &Path) -> (TestLog, Vec<CommandId>) {
    let mut daemon = TestLog::start(dir);
    let ids = daemon.accept_many(100);
    daemon.store_dead_letter(Lsn(3), "too large");
    daemon.store_dead_letter(Lsn(4), "topic is unknown");
    daemon.confirm((1..=94).filter(|lsn| ![3, 4].contains(lsn)));
    let keep = Retention { age: Duration::from_secs(9_999), size: u64::MAX };
    daemon.log.run_maintenance(keep, Timestamp::now()).unwrap();
    assert!(dir.join("acked").read_dir().unwrap().count() > 0);
    (daemon, ids)
}

/// The undelivered records: number, id, and the record that each repeats.
fn waiting(daemon: &TestLog) -> Vec<(u64, CommandId, Option<u64>)> {
    let mut cursor = daemon.log.cursor(Lsn(0));
    let mut all = Vec::new();
    while let Some(frame) = cursor.next(|_, _| true).unwrap() {
        let envelope = Envelope::decode(frame.payload).unwrap();
        all.push((frame.lsn.0, envelope.id, envelope.requeued_from.map(|lsn| lsn.0)));
    }
    all
}

#[test]
fn a_replay_plan_counts_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path()));
    let before = fingerprint(dir.path());
    let planned = run(dir.path(), &["--json", "replay", "--from", "1", "--to", "97"]).assert_exit(0);
    let plan = planned.json();
    for (name, value) in [
        ("applied", json!(false)),
        ("from", json!(1)),
        ("to", json!(97)),
        ("records", json!(92)),
        ("kinds", json!({ "order.create": 92 })),
        ("waiting", json!(3)),
        ("dead", json!(2)),
        ("damaged", json!(0)),
        ("oldest_kept", json!(1)),
    ] {
        assert_eq!(plan[name], value, "{name}");
    }
    assert!(planned.err.contains("3 records are skipped: they are not delivered yet"), "{planned:?}");
    assert!(planned.err.contains("after later records of its key") && planned.err.contains("--apply"));
    let human = run(dir.path(), &["replay", "--from", "1"]).assert_exit(0).out;
    assert!(human.contains("to deliver again: 92 records of 1 to 100"), "{human}");
    assert!(fingerprint(dir.path()) == before);
    run(dir.path(), &["replay"]).assert_exit(2);
    run(dir.path(), &["replay", "--from", "yesterday"]).assert_exit(2);
}

#[test]
fn a_range_is_given_by_numbers_ids_or_instants() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    daemon.accept_many(5);
    std::thread::sleep(Duration::from_millis(5));
    let middle = Timestamp::now().to_string();
    let later = daemon.accept_many(5);
    daemon.confirm(1..=10);
    daemon.checkpoint();
    drop(daemon);
    let id = later[1].to_string();
    let records = |from: &str, to: &str| {
        let plan = run(dir.path(), &["--json", "replay", "--from", from, "--to", to]).assert_exit(0).json();
        [&plan["from"], &plan["to"], &plan["records"]].map(|n| n.as_u64().unwrap())
    };
    assert_eq!(records("3", "3"), [3, 3, 1]);
    assert_eq!(records(&id, &id), [7, 7, 1]);
    assert_eq!(records(&middle, "999999"), [6, 10, 5]);
    assert_eq!(records("1h", &middle), [1, 5, 5]);
    assert_eq!(records("8", "2")[2], 0);
    let other = tempfile::tempdir().unwrap();
    let foreign = TestLog::start(other.path()).accept_many(1)[0].to_string();
    let refused = run(dir.path(), &["replay", "--from", &foreign]).assert_exit(2);
    assert!(refused.err.contains("another log"), "{refused:?}");
}

#[test]
fn a_range_replayed_offline_is_delivered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, ids) = log(dir.path());
    drop(daemon);
    let done =
        run(dir.path(), &["--json", "replay", "--from", "2", "--to", "60", "--apply"]).assert_exit(0).json();
    assert_eq!((&done["applied"], &done["replayed"]), (&json!(true), &json!(57)));
    assert_eq!((&done["last_done"], &done["last_as"]), (&json!(60), &json!(157)));
    run(dir.path(), &["verify", "--deep"]).assert_exit(0);
    let shown = run(dir.path(), &["--json", "show", &ids[1].to_string()]).assert_exit(0).json();
    assert_eq!((&shown["lsn"], &shown["state"]), (&json!(2), &json!("sent")), "what was sent stays sent");
    let daemon = TestLog::start(dir.path());
    let mut expected: Vec<_> = (95..=100).map(|lsn| (lsn, ids[lsn as usize - 1], None)).collect();
    let again = (2..=60).filter(|lsn| ![3, 4].contains(lsn));
    expected.extend((101..).zip(again).map(|(now, lsn)| (now, ids[lsn as usize - 1], Some(lsn))));
    assert_eq!(waiting(&daemon), expected);
    assert!(matches!(daemon.log.record_state(Lsn(2)).unwrap(), RecordState::Sent(Some(_))));
}

#[test]
fn a_second_replay_repeats_each_command_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path()));
    run(dir.path(), &["replay", "--from", "90", "--apply"]).assert_exit(0);
    let daemon = TestLog::start(dir.path());
    daemon.confirm(95..=105);
    daemon.checkpoint();
    drop(daemon);
    let plan = run(dir.path(), &["--json", "replay", "--from", "90"]).assert_exit(0).json();
    assert_eq!((&plan["records"], &plan["copies"]), (&json!(11), &json!(5)));
    let plan = run(dir.path(), &["--json", "replay", "--from", "101"]).assert_exit(0).json();
    assert_eq!((&plan["records"], &plan["copies"]), (&json!(5), &json!(0)), "their sources are elsewhere");
}

#[test]
fn a_replay_repeats_a_requeued_letter_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path()));
    run(dir.path(), &["dead", "requeue", "3", "--apply"]).assert_exit(0);
    let daemon = TestLog::start(dir.path());
    daemon.confirm(95..=101);
    daemon.checkpoint();
    drop(daemon);
    let plan = run(dir.path(), &["--json", "replay", "--from", "1"]).assert_exit(0).json();
    assert_eq!((&plan["records"], &plan["copies"], &plan["dead"]), (&json!(99), &json!(1), &json!(1)));
}

#[test]
fn a_replay_reports_expired_and_damaged_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut daemon, _) = log(dir.path());
    daemon.accept_many(1);
    let keep = Retention { age: Duration::from_secs(9_999), size: SEGMENT };
    daemon.log.run_maintenance(keep, Timestamp::now()).unwrap();
    let oldest = daemon.log.oldest_retained();
    assert!(Lsn(4) < oldest && oldest < Lsn(90), "{oldest}");
    drop(daemon);
    let (path, offset, _) = record_position(dir.path(), 90);
    overwrite(&path, offset + 40, b"\xff\xff");
    let planned = run(dir.path(), &["--json", "replay", "--from", "1", "--to", "94"]).assert_exit(1);
    assert!(planned.err.contains(&format!("oldest retained record is {oldest}")), "{planned:?}");
    let plan = planned.json();
    assert_eq!((&plan["damaged"], &plan["records"]), (&json!(1), &json!(94 - oldest.0)));
    let done =
        run(dir.path(), &["--json", "replay", "--from", "1", "--to", "94", "--apply"]).assert_exit(1).json();
    assert_eq!(done["replayed"], plan["records"], "the other records are replayed");
}

/// Accepts `room` records, then reports a full disk.
struct RecordingOperator {
    room: usize,
    taken: Mutex<Vec<Vec<u64>>>,
}

impl Operator for RecordingOperator {
    fn status(&self) -> Value {
        json!({})
    }

    fn requeue(&self, _: Lsn, _: &str) -> Result<Lsn, String> {
        unreachable!("a replay requeues nothing")
    }

    fn drop_dead_letter(&self, _: Lsn, _: &str) -> Result<(), String> {
        unreachable!("a replay drops nothing")
    }

    fn replay(&self, lsns: &[Lsn], _: &str) -> Vec<RecordOutcome> {
        let mut taken = self.taken.lock().unwrap();
        let before: usize = taken.iter().map(Vec::len).sum();
        let room = self.room - before;
        taken.push(lsns.iter().take(room).map(|lsn| lsn.0).collect());
        let again = |&lsn: &Lsn| RecordOutcome { lsn, requeued_as: Some(lsn.plus(5_000)), error: None };
        let full =
            |&lsn: &Lsn| RecordOutcome { lsn, requeued_as: None, error: Some("the disk is full".to_owned()) };
        let done = lsns.iter().take(room).map(again);
        done.chain(lsns.get(room).map(full)).collect()
    }
}

#[test]
fn a_replay_by_a_daemon_stops_and_reports_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = TestLog::start(dir.path());
    let count = 2 * MAX_REPLAY as u64 + 10;
    daemon.accept_many(count);
    daemon.confirm(1..=count);
    daemon.checkpoint();
    let asked = Arc::new(RecordingOperator { room: MAX_REPLAY + 500, taken: Mutex::default() });
    let server = Server::start(dir.path(), Arc::<RecordingOperator>::clone(&asked)).unwrap();
    run(dir.path(), &["replay", "--from", "1"]).assert_exit(0);
    let done = run(dir.path(), &["--json", "replay", "--from", "1", "--apply"]).assert_exit(2);
    server.stop();
    assert!(
        done.err.contains("1500 of 2010 records") && done.err.contains("continue with --from 1501"),
        "{done:?}"
    );
    assert!(done.err.contains("the disk is full"), "{done:?}");
    let done = done.json();
    assert_eq!((&done["replayed"], &done["last_done"]), (&json!(1500), &json!(1500)));
    let taken = asked.taken.lock().unwrap();
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_REPLAY, 500]);
    assert!(taken.concat().iter().copied().eq(1..=1500), "in order");
}

#[test]
fn a_replay_refuses_a_log_in_use_without_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = log(dir.path());
    let refused = run(dir.path(), &["replay", "--from", "1", "--apply"]).assert_exit(2);
    assert!(refused.err.contains("in use by process"), "{refused:?}");
}
