//! repair: the plan, the repairs, refusals and exit codes.

use std::path::Path;

use crate::support::*;
use serde_json::json;

fn log(dir: &Path, records: u64) -> TestLog {
    let mut daemon = TestLog::start(dir);
    daemon.accept_many(records);
    daemon.checkpoint();
    daemon
}

/// Makes a stopped log with a damaged record in the middle, a corrupt checkpoint and a torn tail. Returns the number
/// of the damaged record.
fn damaged(dir: &Path) -> u64 {
    drop(log(dir, 100));
    let (path, offset, bytes) = record_position(dir, 100);
    overwrite(&path, offset + bytes, b"half of a fra");
    let (path, offset, _) = record_position(dir, 30);
    overwrite(&path, offset + 40, b"\xff\xff");
    overwrite(&dir.join("checkpoint"), 20, b"\xff\xfe");
    30
}

#[test]
fn a_healthy_log_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path(), 100));
    std::fs::write(dir.path().join("pending/notes.txt"), "hello").unwrap();
    let mut before = fingerprint(dir.path());
    for args in [&["repair"][..], &["repair", "--apply"]] {
        let run = run(dir.path(), args).assert_exit(0);
        assert!(run.out.contains("notes.txt"), "reported and not changed: {run:?}");
        let mut after = fingerprint(dir.path());
        // A process writes its name into LOCK when it takes the lock.
        for files in [&mut before, &mut after] {
            files.remove(&dir.path().join("LOCK"));
        }
        assert!(after == before, "{args:?}");
    }
    std::fs::remove_file(dir.path().join("pending/notes.txt")).unwrap();
    assert_eq!(run(dir.path(), &["repair"]).assert_exit(0).out, "nothing to repair\n");
}

#[test]
fn the_plan_changes_nothing_and_equals_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let lost = damaged(dir.path());
    let before = fingerprint(dir.path());
    let planned = run(dir.path(), &["--json", "repair"]).assert_exit(1);
    assert!(planned.err.contains("--apply"), "{planned:?}");
    run(dir.path(), &["repair"]).assert_exit(1);
    assert!(fingerprint(dir.path()) == before);
    let mut planned = planned.json();
    let kinds: Vec<_> = planned["findings"].as_array().unwrap().iter().map(|found| &found["kind"]).collect();
    assert_eq!(kinds, ["checkpoint", "torn-tail", "damaged"]);
    let done = run(dir.path(), &["--json", "repair", "--apply"]).assert_exit(0).json();
    assert_eq!(planned["applied"].take(), json!(false));
    planned["applied"] = json!(true);
    assert_eq!(planned, done);
    for name in done["backups"].as_array().unwrap() {
        let copy = std::fs::read(dir.path().join("quarantine").join(name.as_str().unwrap())).unwrap();
        let part = |file: &String| file.contains(format!("{copy:?}").trim_matches(['[', ']']));
        assert!(before.values().any(part), "{name} is a copy of earlier bytes");
    }
    assert_eq!(done["backups"].as_array().unwrap().len(), 3);
    run(dir.path(), &["verify", "--deep"]).assert_exit(0);
    run(dir.path(), &["segments"]).assert_exit(0);
    assert_eq!(run(dir.path(), &["repair"]).assert_exit(0).out, "nothing to repair\n");
    let dead = run(dir.path(), &["--json", "dead", "list"]).assert_exit(1).lines();
    assert_eq!((dead.len(), &dead[0]["kind"], &dead[0]["lsn_from"]), (1, &json!("damaged"), &json!(lost)));
    let daemon = TestLog::start(dir.path());
    assert_eq!(daemon.log.backlog_stats().backlog, 99, "everything else is delivered");
}

#[test]
fn the_table_names_findings_remedies_and_copies() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let planned = run(dir.path(), &["repair"]).assert_exit(1).out;
    assert!(planned.contains("torn-tail") && planned.contains("cut off"), "{planned}");
    assert!(planned.contains("will be kept in quarantine/checkpoint.1"), "{planned}");
    let done = run(dir.path(), &["repair", "--apply"]).assert_exit(0);
    assert!(done.out.contains("was kept in quarantine/checkpoint.1"), "{done:?}");
}

#[test]
fn repair_of_a_log_in_use_names_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = log(dir.path(), 10);
    let before = fingerprint(dir.path());
    for args in [&["repair"][..], &["repair", "--apply"]] {
        let refused = run(dir.path(), args).assert_exit(2);
        assert!(refused.err.contains(&format!("in use by process {}", std::process::id())), "{refused:?}");
        assert!(refused.out.is_empty());
    }
    assert!(fingerprint(dir.path()) == before);
}

#[test]
fn repair_refuses_a_log_older_than_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = log(dir.path(), 20);
    let path = record_position(dir.path(), 20).0;
    let older = std::fs::read(&path).unwrap();
    daemon.accept_many(1);
    daemon.checkpoint();
    drop(daemon);
    std::fs::write(&path, older).unwrap();
    let before = fingerprint(&dir.path().join("pending"));
    for args in [&["repair"][..], &["repair", "--apply"]] {
        let left = run(dir.path(), args).assert_exit(1);
        assert!(left.err.contains("covers records up to 21"), "{left:?}");
    }
    assert!(fingerprint(&dir.path().join("pending")) == before);
}

#[test]
fn damage_that_cannot_be_repaired_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path(), 200));
    // The second segment is replaced by one of another run: valid in itself, but not the predecessor that the third
    // names.
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (record_position(dir.path(), 1).0, record_position(dir.path(), 80).0);
    std::fs::create_dir(other.path().join("pending")).unwrap();
    std::fs::copy(&first, other.path().join("pending").join(name(&first))).unwrap();
    TestLog::start(other.path()).accept_many(100);
    std::fs::copy(other.path().join("pending").join(name(&second)), &second).unwrap();
    let planned = run(dir.path(), &["--json", "repair"]).assert_exit(1);
    let done = run(dir.path(), &["--json", "repair", "--apply"]).assert_exit(1);
    assert!(done.err.contains("cannot be repaired"), "{done:?}");
    assert_eq!(planned.json()["left"], done.json()["left"]);
}
