//! An encrypted log: output with and without the key, and a change of the master key.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::*;
use forebay_wal::{Keys, Lsn};
use serde_json::json;

/// Texts that no file, and no output without the key, may contain.
const SECRETS: [&str; 4] = ["hunter2", "o-3", "order.create", "a broker's words"];

/// A key file with 64 times `digit`.
fn key(home: &Path, digit: &str) -> PathBuf {
    let path = home.join(format!("key-{digit}"));
    std::fs::write(&path, format!("{}\n", digit.repeat(64))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

struct EncryptedLog {
    _home: tempfile::TempDir,
    log: PathBuf,
    one: PathBuf,
    two: PathBuf,
}

/// 60 orders: all but 5 and 7 are confirmed, 7 is a dead letter. The daemon has stopped.
fn stopped() -> EncryptedLog {
    let home = tempfile::tempdir().unwrap();
    let (log, one, two) = (home.path().join("log"), key(home.path(), "1"), key(home.path(), "2"));
    let mut daemon = TestLog::start_with(&log, Keys::read(Some(&one), &[]).unwrap());
    daemon.accept_many(60);
    daemon.confirm((1..=60).filter(|&lsn| lsn != 5 && lsn != 7));
    daemon.store_dead_letter(Lsn(7), "a broker's words");
    daemon.checkpoint();
    EncryptedLog { _home: home, log, one, two }
}

impl EncryptedLog {
    fn run(&self, args: &[&str]) -> Run {
        run(&self.log, args)
    }

    fn run_with(&self, key: &Path, args: &[&str]) -> Run {
        run(&self.log, &[&["--key-file", key.to_str().unwrap()], args].concat())
    }

    /// Runs `rekey` with the new and the previous key.
    fn rekey(&self, args: &[&str]) -> Run {
        let old = ["--old-key-file", self.one.to_str().unwrap(), "rekey"];
        self.run_with(&self.two, &[&old, args].concat())
    }
}

#[test]
fn without_the_key_only_numbers_times_and_sizes_are_shown() {
    let home = stopped();
    let before = fingerprint(&home.log);
    let status = home.run(&["--json", "status"]).assert_exit(0).json();
    assert_eq!((&status["backlog"], &status["dead"]), (&json!(1), &json!(1)));
    assert_eq!(status["encrypted_segments"], status["segments"]);
    for args in [&["--json", "list"][..], &["--json", "tail"], &["--json", "show", "5"], &["list"]] {
        let run = home.run(args).assert_exit(0);
        let hints = run.err.lines().filter(|line| line.starts_with("encrypted: ")).count();
        assert_eq!((hints, run.err.lines().count()), (1, 1), "{args:?}: {run:?}");
        assert!(run.err.contains("--key-file"));
        assert!(SECRETS.iter().all(|secret| !run.out.contains(secret)), "{args:?}: {run:?}");
        assert!(run.out.contains("encrypted"), "{run:?}");
    }
    let rows = home.run(&["--json", "list"]).lines();
    assert_eq!(rows.len(), 60);
    assert!(
        rows.iter().all(|row| row["kind"] == "encrypted" && row["bytes"].as_u64() > Some(100)),
        "{rows:?}"
    );
    assert_eq!(
        (&rows[4]["lsn"], &rows[4]["state"], &rows[5]["state"]),
        (&json!(5), &json!("accepted"), &json!("sent"))
    );
    let dead = home.run(&["--json", "dead", "list"]).assert_exit(1).lines();
    assert_eq!((&dead[0]["lsn"], &dead[0]["reason"]), (&json!(7), &json!("encrypted")));
    let verified = home.run(&["--json", "verify"]).assert_exit(0);
    assert_eq!(verified.json()["not_authenticated"], 60);
    assert!(verified.err.contains("only the checksums"), "{verified:?}");
    home.run(&["segments"]).assert_exit(0);
    assert_eq!(fingerprint(&home.log), before);
}

#[test]
fn with_the_key_everything_is_shown() {
    let home = stopped();
    let rows = home.run_with(&home.one, &["--json", "list"]).assert_exit(0);
    assert!(rows.err.is_empty(), "{rows:?}");
    assert_eq!((&rows.lines()[2]["kind"], &rows.lines()[2]["key"]), (&json!("order.create"), &json!("o-3")));
    let id = rows.lines()[2]["id"].as_str().unwrap().to_owned();
    assert!(home.run_with(&home.one, &["show", &id, "--payload"]).assert_exit(0).out.contains("hunter2"));
    assert!(home.run(&["show", &id]).assert_exit(2).err.contains("needs the log's key"));
    let dead = home.run_with(&home.one, &["--json", "dead", "show", "7"]).assert_exit(0).json();
    assert_eq!((&dead["key"], &dead["reason"]), (&json!("o-7"), &json!("a broker's words")));
    let verified = home.run_with(&home.one, &["--json", "verify", "--deep"]).assert_exit(0).json();
    assert_eq!((&verified["records"], &verified["not_authenticated"]), (&json!(60), &json!(0)));
    let mut requeue = command(&home.log, &["dead", "requeue", "7", "--apply"]);
    requeue.env("FOREBAY__WAL__ENCRYPTION_KEY_FILE", &home.one);
    assert!(requeue.output().unwrap().status.success(), "the key may come from the environment");
    assert_eq!(home.run_with(&home.one, &["--json", "show", "61"]).json()["key"], "o-7");
}

#[test]
fn no_file_contains_a_secret_in_plain() {
    let home = stopped();
    for (path, print) in fingerprint(&home.log) {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for secret in SECRETS {
            // Footers of segments contain kinds on purpose, because status counts by kind.
            let allowed = secret == "order.create" && path.extension().is_some_and(|is| is == "wal");
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found || allowed, "{secret} in {}: {}", path.display(), print.len());
        }
    }
}

#[test]
fn a_change_without_the_key_is_refused_and_changes_nothing() {
    let home = stopped();
    let before = fingerprint(&home.log);
    for key in [None, Some(&home.two)] {
        let args = ["dead", "requeue", "7", "--apply"];
        let run = key.map_or_else(|| home.run(&args), |key| home.run_with(key, &args)).assert_exit(2);
        assert!(run.err.contains("is encrypted"), "{run:?}");
    }
    // The right key as an old one only: it opens everything, but new records would not be encrypted.
    let old = ["--old-key-file", home.one.to_str().unwrap(), "dead", "requeue", "7", "--apply"];
    assert!(home.run(&old).assert_exit(2).err.contains("--key-file"));
    let bad = home.log.with_file_name("bad");
    std::fs::write(&bad, "not a key").unwrap();
    std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.run_with(&bad, &["status"]).assert_exit(2).err.contains("64 hexadecimal digits"));
    assert_eq!(fingerprint(&home.log), before);
}

#[test]
fn an_id_without_the_key_is_refused_with_the_option() {
    let home = stopped();
    let rows = home.run_with(&home.one, &["--json", "list"]).lines();
    let id = rows[4]["id"].as_str().unwrap();
    for args in [["show", id].to_vec(), vec!["export", "--from", id], vec!["replay", "--from", id]] {
        let run = home.run(&args).assert_exit(2);
        assert!(run.err.contains("--key-file") && !run.err.contains("the log is empty"), "{args:?}: {run:?}");
    }
}

#[test]
fn after_rekey_the_old_key_opens_nothing() {
    let home = stopped();
    let before = fingerprint(&home.log);
    let plan = home.rekey(&[]).assert_exit(0);
    assert!(plan.out.contains("re-wrap") && plan.err.contains("nothing was changed"), "{plan:?}");
    assert_eq!(fingerprint(&home.log), before);
    let rows = home.rekey(&["--apply", "--json"]).assert_exit(0);
    assert!(rows.err.contains("no other key is needed"), "{rows:?}");
    assert!(rows.lines().iter().all(|row| row["action"] == "re-wrapped"), "{rows:?}");
    assert!(rows.lines().iter().any(|row| row["file"] == "dead/letters"));
    assert!(home.run_with(&home.two, &["show", "5", "--payload"]).assert_exit(0).out.contains("hunter2"));
    assert_eq!(
        home.run_with(&home.two, &["--json", "dead", "show", "7"]).json()["reason"],
        "a broker's words"
    );
    assert_eq!(home.run_with(&home.one, &["--json", "show", "5"]).assert_exit(0).json()["kind"], "encrypted");
    let again = home.rekey(&["--apply", "--json"]).assert_exit(0);
    assert!(again.lines().iter().all(|row| row["action"] == "none"), "nothing is left to do: {again:?}");
}

#[test]
fn rekey_needs_a_stopped_daemon_and_reports_other_keys() {
    let home = stopped();
    let daemon = TestLog::start_with(&home.log, Keys::read(Some(&home.one), &[]).unwrap());
    assert!(home.rekey(&["--apply"]).assert_exit(2).err.contains("stop the daemon"));
    drop(daemon);
    let run = home.run_with(&home.two, &["rekey", "--apply"]).assert_exit(1);
    assert!(run.out.contains("opens with") && run.err.contains("remain under another key"), "{run:?}");
    assert!(run.err.contains("--old-key-file"), "{run:?}");
    assert!(home.run(&["rekey"]).assert_exit(2).err.contains("--key-file"));
}

#[test]
fn an_export_without_the_key_exits_1_without_payloads() {
    let home = stopped();
    let without = home.run(&["export"]).assert_exit(1);
    assert_eq!(without.lines().len(), 60);
    assert!(SECRETS.iter().all(|secret| !without.out.contains(secret)), "{without:?}");
    let with = home.run_with(&home.one, &["export"]).assert_exit(0);
    assert_eq!(with.lines()[4]["payload"]["secret"], "hunter2");
}

#[test]
fn a_replay_and_a_drop_write_no_plain_text() {
    let home = stopped();
    home.run(&["replay", "--from", "1", "--apply"]).assert_exit(2);
    let done =
        home.run_with(&home.one, &["--json", "replay", "--from", "1", "--apply"]).assert_exit(0).json();
    assert_eq!(done["replayed"], 58);
    home.run_with(&home.one, &["dead", "drop", "--all", "--apply"]).assert_exit(0);
    home.run_with(&home.one, &["verify", "--deep"]).assert_exit(0);
    for (path, content) in files(&home.log) {
        let shows = |secret: &&&str| content.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert_eq!(SECRETS[..2].iter().find(shows), None, "{}", path.display());
    }
    assert!(home.log.join("quarantine/dead-letters.1").exists());
}

#[test]
fn a_repair_needs_the_key_and_changes_nothing_without_it() {
    let home = stopped();
    let (path, offset, _) = record_position(&home.log, 40);
    overwrite(&path, offset + 40, b"\xff\xff");
    let before = fingerprint(&home.log);
    for args in [&["repair"][..], &["repair", "--apply"]] {
        assert!(home.run(args).assert_exit(2).err.contains("is encrypted"));
    }
    home.run_with(&home.one, &["repair"]).assert_exit(1);
    let mut after = fingerprint(&home.log);
    after.insert(home.log.join("LOCK"), before[&home.log.join("LOCK")].clone());
    assert!(after == before);
    home.run_with(&home.one, &["repair", "--apply"]).assert_exit(0);
    home.run_with(&home.one, &["verify", "--deep"]).assert_exit(0);
}

/// Every file with its content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut all, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        match path.is_dir() {
            true => open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path())),
            false => all.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn an_unhashed_password_is_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let (log, one) = (home.path().join("log"), key(home.path(), "1"));
    let mut daemon = TestLog::start_with(&log, Keys::read(Some(&one), &[]).unwrap());
    let value = br#"{"name":"ada","password":"hunter2","actor":null}"#;
    let (lsn, id) = daemon.accept_sealed("ada", value);
    let (dead, _) = daemon.accept_sealed("bob", value);
    daemon.store_dead_letter(dead, "a broker's words");
    daemon.checkpoint();
    drop(daemon);
    let (lsn, dead, id) = (lsn.to_string(), dead.to_string(), id.to_string());
    let with_key = |args: &[&str]| run(&log, &[&["--key-file", one.to_str().unwrap()], args].concat());
    for args in [
        &["show", &lsn, "--payload"][..],
        &["show", &id],
        &["--json", "show", &id, "--payload"],
        &["export"],
        &["dead", "show", &dead, "--payload"],
        &["--json", "dead", "show", &dead],
    ] {
        let run = with_key(args).assert_exit(0);
        assert!(run.out.contains("sealed") && !run.out.contains("hunter2"), "{args:?}: {run:?}");
        assert!(!run.out.contains("payload_base64"), "{args:?}: {run:?}");
    }
    let shown = with_key(&["--json", "show", &id, "--payload"]).json();
    assert_eq!((&shown["payload"], &shown["key"]), (&json!("sealed"), &json!("ada")));
    assert!(with_key(&["export"]).lines().iter().all(|line| line["value"] == "sealed"));
}
