//! Log lines: contents of the first one, priorities in the journal, and repeated causes.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::{fs, io};

use serde_json::Value;

use crate::LONG;
use support::process::Forebay;
use support::wait;

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

/// The log lines with this event.
fn lines(log: &str, event: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).collect()
}

#[test]
fn the_first_line_shows_version_and_configuration() {
    let mut forebay = forebay().toml(
        "[[kinds]]\nname = \"a.create\"\ntopic = \"a\"\n[[kinds]]\nname = \"b.create\"\ntopic = \"b\"\n",
    );
    forebay.start();
    let log = forebay.log();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let file = forebay.write_config().display().to_string();
    let address = forebay.address();
    for (field, value) in [
        ("event", "daemon.started"),
        ("level", "INFO"),
        ("command", "serve"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("config.file", &file),
        ("listen", &address),
        ("kafka.brokers", "embedded"),
        ("drain.delivery", "at-least-once"),
        ("auth.mode", "open"),
        ("kinds", "a.create, b.create"),
    ] {
        assert_eq!(first[field], value, "{field} of {first}");
    }
    assert_eq!((&first["tls"], &first["wal.encrypted"]), (&false.into(), &false.into()), "{first}");
    assert!(first["admin_listen"].is_string(), "{first}");
}

/// Lines that the daemon writes to a pipe in a run with an INFO, a WARN and an ERROR line. `is_journal`: the
/// environment declares the pipe to be the journal.
fn written(is_journal: bool) -> String {
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let pipe = file.metadata().unwrap();
    let inode = if is_journal { pipe.ino() } else { pipe.ino() + 1 };
    let mut forebay = forebay().env("JOURNAL_STREAM", &format!("{}:{inode}", pipe.dev()));
    forebay.launch_to(Stdio::null(), file);
    forebay.await_ready();
    let config = forebay.write_config();
    let text = fs::read_to_string(&config).unwrap();
    let mut log = String::new();
    let mut bytes = [0; 4096];
    for (change, event) in
        [("[alerts]\ninterval = \"7s\"\n", "config.reloaded"), ("[[", "config.reload_failed")]
    {
        fs::write(&config, format!("{text}\n{change}")).unwrap();
        forebay.signal("HUP");
        while !log.contains(event) {
            let count = reader.read(&mut bytes).unwrap();
            log.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
    assert!(forebay.terminate().success());
    reader.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn lines_to_the_journal_begin_with_their_priority() {
    let log = written(true);
    let mut levels = Vec::new();
    for line in log.lines() {
        let (priority, line) = line.split_at_checked(3).unwrap();
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {log}"));
        let expected = match line["level"].as_str().unwrap() {
            "ERROR" => "<3>",
            "WARN" => "<4>",
            "INFO" => "<6>",
            _ => "<7>",
        };
        assert_eq!(priority, expected, "{line}");
        levels.push(expected);
    }
    assert!(["<3>", "<4>", "<6>"].iter().all(|level| levels.contains(level)), "{log}");
}

#[test]
fn lines_outside_the_journal_have_no_priority() {
    let log = written(false);
    assert!(!log.is_empty() && log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[test]
fn a_configuration_error_has_error_priority_in_the_journal() {
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let pipe = file.metadata().unwrap();
    let stream = format!("{}:{}", pipe.dev(), pipe.ino());
    let mut forebay = forebay().set("wal.dri", "x").env("JOURNAL_STREAM", &stream);
    forebay.launch_to(Stdio::null(), file);
    assert_eq!(forebay.wait(LONG).code(), Some(64));
    drop(forebay);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(!said.is_empty() && said.lines().all(|line| line.starts_with("<3>")), "{said}");
}

/// Each of these requests exceeds the threshold of slow steps, and each used to log a line.
#[test]
fn many_lines_of_one_cause_become_one_and_a_count() {
    const USERS: u64 = 12;
    let mut forebay = forebay().set("telemetry.slow_step", "1ms");
    forebay.start();
    let mut http = forebay.http();
    for n in 0..USERS {
        let user = format!(
            r#"{{"name":"user-{n}","email":"user-{n}@example.org","phone":"+49301234{n:02}","password":"correct horse"}}"#
        );
        assert_eq!(http.post("/v1/users", &user).unwrap().status, 202);
    }
    assert!(forebay.terminate().success());
    let log = forebay.log();
    let of_hash = |line: &&Value| line["step"] == "users.hash";
    let logged = lines(&log, "step.slow").iter().filter(of_hash).count() as u64;
    let repeated = lines(&log, "log.repeated");
    let counts = repeated.iter().filter(|line| line["repeated.line"] == "slow step step=users.hash");
    let counted: u64 = counts.map(|line| line["repeated.count"].as_u64().unwrap()).sum();
    assert_eq!(logged + counted, USERS, "{log}");
    // A single line, unless the machine stalls for ten seconds.
    assert!(logged < USERS / 2, "{log}");
    assert!(
        repeated.iter().all(|line| line["level"] == "WARN" && line["repeated.event"] == "step.slow"),
        "{log}"
    );
}

/// An operator who looks for a cause at this level needs each line.
#[test]
fn at_debug_every_repetition_is_logged() {
    let mut forebay = forebay().set("telemetry.slow_step", "1ms").set("telemetry.log_level", "debug");
    forebay.start();
    let mut http = forebay.http();
    for n in 0..3 {
        let user = format!(
            r#"{{"name":"user-{n}","email":"user-{n}@example.org","phone":"+49301234{n:02}","password":"correct horse"}}"#
        );
        assert_eq!(http.post("/v1/users", &user).unwrap().status, 202);
    }
    let slow = || {
        let lines = lines(&forebay.log(), "step.slow");
        lines.iter().filter(|line| line["step"] == "users.hash").count()
    };
    wait::until_true("each is logged", LONG, || slow() == 3);
}
