//! A lost or damaged idempotency index: it is rebuilt from the log, and requests without a key are not delayed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::daemon::{LONG, backlog_value, kind};
use crate::requests::{NO_KAFKA, batch, daemon, id, ids, is_replay, keyed, order, refusal, register};
use support::http::Client;
use support::process::Forebay;
use support::{scratch, wait};

/// Waits until the index recognises the key, and returns the id of the replayed response.
fn await_replay(http: &mut Client, key: &str) -> String {
    let answer = wait::until("the key is recognised", LONG, || {
        let answer = keyed(http, "order.create", key, &order(key));
        let rebuilding = answer.status == 503;
        assert!(!rebuilding || refusal(&answer).1 == "index_rebuilding", "{}", answer.text());
        (!rebuilding).then_some(answer)
    });
    assert!(is_replay(&answer), "{}", answer.text());
    id(&answer)
}

#[test]
fn a_missing_index_delays_only_requests_with_a_key() {
    // More records than a start reads before it accepts requests.
    const BATCHES: usize = 11;
    let mut forebay = daemon().set("kafka.brokers", NO_KAFKA).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let first = id(&keyed(http, "order.create", "first", &order("first")));
    let lines = "{\"key\":\"a\"}\n".repeat(10_000);
    for _ in 0..BATCHES {
        assert_eq!(ids(&batch(http, &[], &lines)).len(), 10_000);
    }
    let last = id(&keyed(http, "order.create", "last", &order("last")));
    forebay.kill();
    // A file in place of the directory: the index cannot be rebuilt until the file is removed.
    let index = forebay.wal_dir().join("index");
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, b"").unwrap();
    forebay.start();
    let http = &mut forebay.http();
    for _ in 0..2 {
        let unsure = keyed(http, "order.create", "new", "{\"key\":\"a\"}");
        assert_eq!(refusal(&unsure), (503, "index_rebuilding".to_owned()));
        assert_eq!(unsure.json()["retryable"], true);
        assert!(unsure.header("retry-after").is_some());
        id(&http.post(crate::requests::ORDERS, &order("unkeyed")).unwrap());
    }
    assert_eq!(http.get("/readyz").unwrap().status, 200);
    fs::remove_file(&index).unwrap();
    assert_eq!((await_replay(http, "first"), await_replay(http, "last")), (first, last));
    assert!(!is_replay(&keyed(http, "order.create", "new", "{\"key\":\"a\"}")));
}

#[test]
fn a_log_restored_without_its_index_accepts_retries() {
    let mut forebay = daemon().set("kafka.brokers", NO_KAFKA);
    forebay.start();
    let kept = id(&keyed(&mut forebay.http(), "order.create", "kept", &order("kept")));
    assert!(forebay.terminate().success());
    let copy = scratch::dir("copy");
    let parts = ["pending", "checkpoint"];
    let run = |program: &str, arguments: &[&Path]| {
        assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
    };
    let copied = |part: &str| copy.path().join(part);
    parts.iter().for_each(|part| run("cp", &[Path::new("-a"), &forebay.wal_dir().join(part), &copied(part)]));
    forebay.start();
    id(&keyed(&mut forebay.http(), "order.create", "lost", &order("lost")));
    assert!(forebay.terminate().success());
    for part in parts {
        run("rm", &[Path::new("-r"), &forebay.wal_dir().join(part)]);
        run("cp", &[Path::new("-a"), &copied(part), &forebay.wal_dir().join(part)]);
    }
    forebay.start();
    let http = &mut forebay.http();
    let other = id(&http.post(crate::requests::ORDERS, &order("other")).unwrap());
    let before = backlog_value(&forebay, "backlog");
    let retried = keyed(http, "order.create", "lost", &order("lost"));
    assert!(!is_replay(&retried) && id(&retried) != other, "{}", retried.text());
    assert_eq!(backlog_value(&forebay, "backlog"), before + 1, "the request was appended");
    assert_eq!(await_replay(http, "kept"), kept);
}

#[test]
fn index_and_reservation_files_are_private_under_any_umask() {
    let mut forebay = daemon();
    forebay.start();
    let http = &mut forebay.http();
    id(&keyed(http, "order.create", "k", &order("a")));
    let body =
        r#"{"name":"ada","email":"ada@example.org","phone":"+49 170 0000001","password":"correct horse"}"#;
    assert_eq!(register(http, body).status, 202);
    assert!(forebay.terminate().success());
    for dir in ["index", "markers"].map(|dir| forebay.wal_dir().join(dir)) {
        let mut found = vec![dir.clone()];
        while let Some(path) = found.pop() {
            let about = fs::symlink_metadata(&path).unwrap();
            assert_eq!(about.mode() & 0o077, 0, "{} has mode {:o}", path.display(), about.mode());
            if about.is_dir() {
                found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        assert!(fs::read_dir(&dir).unwrap().next().is_some(), "{} is empty", dir.display());
    }
}

/// Damages one file of the index.
type Damage = fn(&Path);

fn garbage(path: &Path) {
    fs::write(path, vec![0x5a; fs::metadata(path).unwrap().len() as usize]).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Flips a bit in every 512 bytes.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(100).step_by(512).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes).unwrap();
}

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn damage(forebay: &Forebay, how: Damage) {
    let mut found = Vec::new();
    files(&forebay.wal_dir().join("index"), &mut found);
    assert!(!found.is_empty());
    found.iter().for_each(|path| how(path));
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_log() {
    const KEYS: usize = 500;
    let mut forebay = daemon().set("kafka.brokers", NO_KAFKA).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n}-{}", "x".repeat(n % 200))).collect();
    let first: Vec<_> = keys.iter().map(|key| id(&keyed(http, "order.create", key, &order(key)))).collect();
    let ways: [(&str, Damage); 3] = [("garbage", garbage), ("cut", cut), ("rot", rot)];
    for (way, how) in ways {
        // An orderly stop, so that the index covers the whole log: a lost part must not count as complete.
        assert!(forebay.terminate().success());
        damage(&forebay, how);
        forebay.start();
        let http = &mut forebay.http();
        for (key, first) in keys.iter().zip(&first) {
            assert_eq!(await_replay(http, key), *first, "{way}: {key}");
        }
    }
    assert!(forebay.terminate().success());
}
