//! verify: findings with their positions, and no false findings while a writer runs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::*;
use forebay_wal::Retention;
use forebay_wal::command::kind_of;
use forebay_wal::inspect::LogDirectory;
use forebay_wal::units::Timestamp;
use serde_json::{Value, json};

fn log(dir: &Path, records: u64) -> TestLog {
    let mut daemon = TestLog::start(dir);
    daemon.accept_many(records);
    daemon.checkpoint();
    daemon
}

/// The findings of a damaged log.
fn findings(dir: &Path) -> Vec<Value> {
    run(dir, &["--json", "verify"]).assert_exit(1).json()["findings"].as_array().unwrap().clone()
}

#[test]
fn a_healthy_log_has_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = log(dir.path(), 100);
    for args in [&["--json", "verify"][..], &["--json", "verify", "--deep"]] {
        let report = run(dir.path(), args).assert_exit(0).json();
        assert_eq!((&report["records"], &report["findings"]), (&json!(100), &json!([])));
        assert_eq!(report["bytes"], daemon.log.backlog_stats().backlog_bytes);
    }
    drop(daemon);
    let human = run(dir.path(), &["verify", "--deep"]).assert_exit(0);
    assert!(
        human.out.contains("100 records") && human.err.is_empty(),
        "no bar without a terminal: {human:?}"
    );
}

#[test]
fn a_flipped_bit_is_reported_with_segment_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path(), 100));
    for lsn in [1, 30, 99] {
        let (path, offset, bytes) = record_position(dir.path(), lsn);
        let good = std::fs::read(&path).unwrap();
        overwrite(&path, offset + bytes / 2, b"\xff");
        let found = findings(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["segment"], name(&path));
        assert_eq!((&found[0]["offset"], &found[0]["kind"]), (&json!(offset), &json!("damaged")));
        let rows = run(dir.path(), &["--json", "segments"]).assert_exit(1).lines();
        let damaged: Vec<_> = rows.iter().filter(|row| row["checksum"] == "damaged").collect();
        assert_eq!((damaged.len(), &damaged[0]["segment"]), (1, &json!(name(&path))));
        let listed = run(dir.path(), &["--json", "list"]).assert_exit(0).lines();
        assert_eq!(listed.len(), 99, "the others are still listed");
        std::fs::write(&path, good).unwrap();
    }
    run(dir.path(), &["verify"]).assert_exit(0);
}

#[test]
fn a_torn_tail_is_a_finding_only_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = log(dir.path(), 20);
    let (path, offset, bytes) = record_position(dir.path(), 20);
    overwrite(&path, offset + bytes, b"half of a fra");
    run(dir.path(), &["verify"]).assert_exit(0);
    drop(daemon);
    let found = findings(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["kind"], &found[0]["offset"]), (&json!("torn-tail"), &json!(offset + bytes)));
    assert_eq!(found[0]["segment"], name(&path));
    let human = run(dir.path(), &["verify"]).assert_exit(1).out;
    assert!(human.contains("torn-tail") && human.contains(name(&path)), "{human}");
}

#[test]
fn changed_durable_bytes_are_damage_even_during_writes() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = log(dir.path(), 20);
    let (path, offset, _) = record_position(dir.path(), 20);
    overwrite(&path, offset + 40, b"\xff\xff");
    let found = findings(dir.path());
    assert_eq!((&found[0]["kind"], &found[0]["offset"]), (&json!("damaged"), &json!(offset)));
}

#[test]
fn a_missing_or_corrupt_checkpoint_is_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path(), 20));
    let path = dir.path().join("checkpoint");
    overwrite(&path, 20, b"\xff\xfe");
    assert_eq!(findings(dir.path())[0]["kind"], "checkpoint");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(findings(dir.path())[0]["kind"], "checkpoint");
    let status = run(dir.path(), &["--json", "status"]).assert_exit(0);
    assert!(status.json()["checkpoint_age_seconds"].is_null() && status.err.contains("checkpoint"));
}

#[test]
fn missing_foreign_and_unknown_files_are_findings() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(log(dir.path(), 200));
    drop(log(other.path(), 1));
    let path = |lsn| record_position(dir.path(), lsn).0;
    let (second, third, fourth) = (path(80), path(120), path(160));
    assert!(second < third && third < fourth);
    std::fs::remove_file(&second).unwrap();
    overwrite(&third, 100, b"no header");
    overwrite(&fourth, std::fs::metadata(&fourth).unwrap().len() - 3, b"no");
    let first = format!("{:020}.wal", 1);
    std::fs::remove_file(dir.path().join("pending").join(&first)).unwrap();
    std::fs::copy(other.path().join("pending").join(&first), dir.path().join("pending").join(&first))
        .unwrap();
    std::fs::write(dir.path().join("pending/notes.txt"), "hello").unwrap();
    let found = findings(dir.path());
    let has = |kind: &str, segment: &str| found.iter().any(|f| f["kind"] == kind && f["segment"] == segment);
    assert!(has("missing", &first) && has("foreign", &first), "{found:?}");
    assert!(has("damaged", name(&third)) && has("damaged", name(&fourth)), "{found:?}");
    assert!(has("unknown", "notes.txt"), "{found:?}");
}

#[test]
fn a_log_that_ends_before_its_checkpoint_is_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = log(dir.path(), 20);
    let path = record_position(dir.path(), 20).0;
    let older = std::fs::read(&path).unwrap();
    daemon.accept_many(1);
    daemon.checkpoint();
    drop(daemon);
    std::fs::write(&path, older).unwrap();
    let found = findings(dir.path());
    assert_eq!((&found[0]["kind"], found.len()), (&json!("missing"), 1));
    assert!(found[0]["detail"].as_str().unwrap().contains("covers records up to 21"));
}

#[test]
fn a_deep_check_finds_records_without_an_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = log(dir.path(), 3);
    let at = Timestamp::now();
    let entry = forebay_wal::NewRecord { lane: 0, label: "x", payload: b"not an envelope" };
    daemon.writer.append(&[entry], at).unwrap();
    daemon.writer.commit().unwrap();
    run(dir.path(), &["verify"]).assert_exit(0);
    let deep = run(dir.path(), &["--json", "verify", "--deep"]).assert_exit(1).json();
    assert_eq!(deep["findings"].as_array().unwrap().len(), 1);
    assert!(deep["findings"][0]["detail"].as_str().unwrap().contains("record 4"));
}

/// Runs `read` repeatedly, while a writer appends, rotates, saves checkpoints and expires delivered segments.
fn beside_a_writer(dir: &Path, mut read: impl FnMut() -> Result<(), String>) {
    let mut daemon = log(dir, 10);
    let (stop, accepted) = (AtomicBool::new(false), AtomicU64::new(10));
    let mut wrong = Ok(());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let keep = Retention { age: Duration::ZERO, size: 0 };
            while !stop.load(Ordering::Relaxed) {
                daemon.accept_many(40);
                let end = accepted.fetch_add(40, Ordering::Relaxed) + 40;
                // Sometimes confirms all records, so that the watermark is at the end.
                let left = if end % 200 == 10 { 0 } else { 20 };
                daemon.confirm(end.saturating_sub(59).max(1)..=end - left);
                daemon.log.run_maintenance(keep, Timestamp::now()).unwrap();
            }
        });
        while wrong.is_ok() && accepted.load(Ordering::Relaxed) < 3_000 {
            wrong = read();
        }
        stop.store(true, Ordering::Relaxed);
    });
    wrong.unwrap();
}

#[test]
fn commands_report_no_findings_while_a_writer_runs() {
    let dir = tempfile::tempdir().unwrap();
    beside_a_writer(dir.path(), || {
        for args in [&["--json", "verify", "--deep"][..], &["segments"], &["--json", "status"], &["tail"]] {
            let run = run(dir.path(), args);
            if run.code != Some(0) || !run.err.is_empty() && args[1] != "status" {
                return Err(format!("{run:?}"));
            }
        }
        let listed = run(dir.path(), &["--json", "list"]).assert_exit(0).lines();
        let lsns: Vec<_> = listed.iter().map(|row| row["lsn"].as_u64().unwrap()).collect();
        if lsns.windows(2).all(|pair| pair[0] < pair[1]) { Ok(()) } else { Err(format!("{lsns:?}")) }
    });
}

#[test]
fn repeated_snapshots_have_no_findings_while_a_writer_runs() {
    let dir = tempfile::tempdir().unwrap();
    beside_a_writer(dir.path(), || {
        let directory = LogDirectory::open(dir.path()).map_err(|e| e.to_string())?;
        let view = directory.snapshot(kind_of).map_err(|e| e.to_string())?;
        let report = view.verify(&mut |_| None, &mut |_| {}).map_err(|e| e.to_string())?;
        if report.findings.is_empty() { Ok(()) } else { Err(format!("{:?}", report.findings)) }
    });
}
