//! Encryption at rest, with the real binary. No client data appears in any file in plain text. Without the right key
//! the daemon does not start and changes no file.

use std::collections::BTreeMap;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::daemon::LONG;
use crate::requests::{ORDERS, await_sent, daemon, id, is_replay, register};
use support::http::{Client, Response};
use support::process::Forebay;
use support::scratch;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Key, value, trace and idempotency key: the client data in a record.
const PLANTED: [&str; 4] =
    ["key-of-ada-lovelace", "value-of-ada-lovelace", TRACE, "idempotency-of-ada-lovelace"];
/// More than one commit.
const RECORDS: u64 = 200;

/// A key file with `digit` 64 times.
fn key(dir: &Path, digit: char) -> PathBuf {
    write(dir.join(format!("key-{digit}")), &format!("{}\n", digit.to_string().repeat(64)), 0o600)
}

fn write(path: PathBuf, text: &str, mode: u32) -> PathBuf {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn set_key(forebay: &mut Forebay, current: Option<&Path>, old: &[&Path]) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    forebay.configure("wal.encryption_old_key_files", old.iter().map(|path| text(path)).collect::<Vec<_>>());
    match current {
        Some(path) => forebay.configure("wal.encryption_key_file", text(path)),
        None => forebay.unset("wal.encryption_key_file"),
    }
}

fn planted(http: &mut Client) -> Response {
    let body = format!(r#"{{"id":"{}","amount":1,"note":"{}"}}"#, PLANTED[0], PLANTED[1]);
    let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("traceparent", trace.as_str()), ("Idempotency-Key", PLANTED[3])];
    http.request("POST", ORDERS, &headers, body.as_bytes()).unwrap()
}

/// Every file of the log's directory except the socket.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.insert(path, Vec::new());
        } else if metadata.is_file() {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The files that contain one of the `planted` texts.
fn showing<'a>(dir: &Path, planted: &[&'a str]) -> Vec<(PathBuf, &'a str)> {
    let mut found = Vec::new();
    for (path, bytes) in files(dir) {
        let shown = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        found.extend(planted.iter().filter(shown).map(|text| (path.clone(), *text)));
    }
    found
}

#[test]
fn encrypted_files_contain_no_client_data() {
    let keys = scratch::dir("keys");
    for key in [None, Some(key(keys.path(), 'a'))] {
        let mut forebay = daemon();
        set_key(&mut forebay, key.as_deref(), &[]);
        forebay.start();
        let http = &mut forebay.http();
        let first = id(&planted(http));
        for n in 0..RECORDS {
            id(&http.post(ORDERS, &format!(r#"{{"id":"{}-{n}","amount":1}}"#, PLANTED[0])).unwrap());
        }
        await_sent(http, &first);
        // A crash, an orderly stop, and a start that delivers everything again from the files.
        forebay.kill();
        let after_kill = showing(&forebay.wal_dir(), &PLANTED);
        forebay.start();
        let http = &mut forebay.http();
        let again = planted(http);
        assert!(is_replay(&again) && id(&again) == first, "{}", again.text());
        await_sent(http, &first);
        assert!(forebay.terminate().success());
        let found = [after_kill, showing(&forebay.wal_dir(), &PLANTED)].concat();
        match key {
            None => assert!(PLANTED.iter().all(|text| found.iter().any(|(_, is)| is == text)), "{found:?}"),
            Some(_) => assert_eq!(found, []),
        }
    }
}

#[test]
fn encrypted_files_contain_no_data_of_pending_registrations() {
    const PERSON: [&str; 3] = ["ada-lovelace", "ada@lovelace.example", "491700000815"];
    let body = r#"{"name":"ada-lovelace","email":"ada@lovelace.example","phone":"+49 170 0000815","password":"correct horse"}"#;
    let keys = scratch::dir("keys");
    let key = key(keys.path(), 'a');
    let hold = |forebay: &mut Forebay| {
        forebay.start();
        assert_eq!(forebay.admin_http().post("/admin/drain/pause", "").unwrap().status, 200);
        let answer = register(&mut forebay.http(), body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(forebay.terminate().success());
    };
    let markers = |forebay: &Forebay| forebay.wal_dir().join("markers");
    let mut plain = daemon();
    hold(&mut plain);
    assert_eq!(showing(&markers(&plain), &PERSON).len(), 3, "without encryption all of it is readable");
    // The store from before encryption is deleted.
    set_key(&mut plain, Some(&key), &[]);
    plain.start();
    assert!(plain.terminate().success());
    assert_eq!(showing(&markers(&plain), &PERSON), []);

    let mut sealed = daemon();
    set_key(&mut sealed, Some(&key), &[]);
    hold(&mut sealed);
    assert_eq!(showing(sealed.dir(), &PERSON), []);
    sealed.start();
    let taken = register(&mut sealed.http(), &body.replace("ada@", "eve@"));
    assert_eq!(taken.status, 409, "the name is still known: {}", taken.text());
    assert!(sealed.terminate().success());
}

#[test]
fn a_wrong_key_exits_with_78_and_changes_nothing() {
    let keys = scratch::dir("keys");
    let (right, wrong) = (key(keys.path(), 'a'), key(keys.path(), 'b'));
    let malformed = write(keys.path().join("malformed"), "abc", 0o600);
    let exposed = write(keys.path().join("exposed"), &"a".repeat(64), 0o644);
    let mut forebay = daemon();
    set_key(&mut forebay, Some(&right), &[]);
    forebay.start();
    let first = id(&planted(&mut forebay.http()));
    assert!(forebay.terminate().success());
    let before = files(&forebay.wal_dir());
    let absent = keys.path().join("absent");
    for (key, words) in [
        (None, "no key is given"),
        (Some(&wrong), "is another one"),
        (Some(&malformed), "64 hexadecimal digits"),
        (Some(&exposed), "can be read by every user"),
        (Some(&absent), "cannot be read"),
    ] {
        set_key(&mut forebay, key.map(PathBuf::as_path), &[]);
        forebay.launch();
        assert_eq!(forebay.wait(LONG).code(), Some(78), "{words}: {}", forebay.log());
        assert!(forebay.log().lines().rfind(|line| line.starts_with("forebay: ")).unwrap().contains(words));
        assert!(files(&forebay.wal_dir()) == before, "{words}: a file was changed");
        assert!(!forebay.log().contains("aaaaaaaa"), "a key must never be logged");
    }
    set_key(&mut forebay, Some(&wrong), &[&right]);
    forebay.start();
    assert!(is_replay(&planted(&mut forebay.http())), "an old key opens what it encrypted");
    await_sent(&mut forebay.http(), &first);
    assert!(forebay.terminate().success());
}

#[test]
fn check_config_reports_every_error_in_key_files() {
    let keys = scratch::dir("keys");
    let malformed = write(keys.path().join("malformed"), "abc", 0o600);
    let mut forebay = daemon().args(&["check-config"]);
    set_key(&mut forebay, Some(&malformed), &[&keys.path().join("absent")]);
    forebay.launch();
    assert_eq!(forebay.wait(LONG).code(), Some(64));
    let said = forebay.log();
    for words in ["[wal] encryption_key_file", "64 hexadecimal digits", "[wal] encryption_old_key_files"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    set_key(&mut forebay, Some(&key(keys.path(), 'a')), &[]);
    forebay.launch();
    assert_eq!(forebay.wait(LONG).code(), Some(0), "{}", forebay.log());
}
