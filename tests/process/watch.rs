//! `wal-tools status --watch` next to a running daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::daemon::{binary, forebay, kind};
use support::output::terminal;
use support::process::Forebay;
use support::wait;

use super::LONG;

/// An address without a listener, so that accepted records wait.
const NO_KAFKA: &str = "127.0.0.1:9";

fn started() -> Forebay {
    let mut forebay = forebay(NO_KAFKA).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    forebay
}

fn post(forebay: &Forebay) {
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"key":"a"}"#).unwrap();
    assert_eq!(answer.status, 202);
}

/// `wal-tools` as built by cargo next to the daemon.
fn tool(through: &[&str], forebay: &Forebay, options: &[&str]) -> Command {
    let path = binary().with_file_name("wal-tools");
    assert!(path.exists(), "cargo builds {} with the tests of wal-tools", path.display());
    let line: Vec<_> =
        through.iter().map(|word| String::from(*word)).chain([path.display().to_string()]).collect();
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).arg("--dir").arg(forebay.wal_dir()).args(options);
    command.args(["status", "--watch", "--interval", "500ms"]);
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn end(child: &mut Child) -> ExitStatus {
    let ended = wait::poll(LONG, || child.try_wait().unwrap());
    ended.unwrap_or_else(|| {
        child.kill().unwrap();
        panic!("the tool did not end")
    })
}

/// The tool with a controlling terminal, as in a shell.
fn at_terminal(forebay: &Forebay) -> (Child, std::fs::File) {
    let (person, program) = terminal();
    let mut command = tool(&["setsid", "--ctty"], forebay, &[]);
    let both = || program.try_clone().unwrap();
    let child = command.stdin(both()).stdout(both()).stderr(both()).spawn().unwrap();
    (child, person)
}

/// Reads until the output satisfies the condition.
fn read_until(person: &mut impl Read, is_wanted: impl Fn(&str) -> bool) -> String {
    let (mut shown, mut bytes) = (String::new(), [0; 4096]);
    while !is_wanted(&shown) {
        let count = person.read(&mut bytes).unwrap();
        assert!(count > 0, "the output ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    shown
}

/// Value of a row in the last complete frame.
fn row<'a>(shown: &'a str, name: &str) -> Option<&'a str> {
    let frame = shown.rsplit("\x1b[J").nth(1)?;
    frame.lines().find_map(|line| line.trim_start_matches("\x1b[H").strip_prefix(name)).map(str::trim)
}

#[test]
fn a_terminal_shows_frames_in_place_until_ctrl_c() {
    let forebay = started();
    post(&forebay);
    let (mut child, mut person) = at_terminal(&forebay);
    let shown = read_until(&mut person, |shown| {
        let is_rate =
            row(shown, "accepted").is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit()));
        is_rate && shown.contains("kafka_unreachable")
    });
    assert!(row(&shown, "backlog").unwrap().starts_with("1 record,"), "{shown}");
    assert!(row(&shown, "figures").unwrap().starts_with("from the daemon"), "{shown}");
    assert!(row(&shown, "trend").unwrap().starts_with("→ steady"), "{shown}");
    assert!(shown.contains("last error: 127.0.0.1:9"), "{shown}");
    assert_eq!(shown.matches("\x1b[2J").count(), 1, "cleared once, then drawn over: {shown}");
    assert!(shown.matches("\x1b[H").count() > 1, "{shown}");
    person.write_all(b"\x03").unwrap();
    // Later output must be read, because a full terminal buffer blocks the tool.
    std::thread::spawn(move || while person.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn watch_ends_with_its_terminal() {
    let forebay = started();
    let (mut child, mut person) = at_terminal(&forebay);
    read_until(&mut person, |shown| row(shown, "backlog").is_some());
    drop(person);
    assert_eq!(end(&mut child).code(), Some(0));
}

fn next(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Value {
    let line = lines.next().unwrap().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn json_output_has_one_line_per_check_across_restarts() {
    let mut forebay = started();
    let mut command = tool(&[], &forebay, &["--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = next(&mut lines);
    for name in
        ["backlog", "oldest_age_seconds", "backlog_bytes", "dead", "poisoned", "watermark_lsn", "segments"]
    {
        assert!(!first[name].is_null(), "no {name}: {first}");
    }
    assert_eq!(
        (&first["source"], &first["accepted_per_second"]),
        (&"daemon".into(), &Value::Null),
        "{first}"
    );
    (0..3).for_each(|_| post(&forebay));
    let grown = std::iter::from_fn(|| Some(next(&mut lines))).find(|look| look["backlog"] == 3).unwrap();
    assert!(grown["accepted_per_second"].as_f64().is_some_and(|rate| rate >= 0.0), "{grown}");
    assert!(grown["backlog_growth_per_second"].as_f64().is_some_and(|growth| growth > 0.0), "{grown}");
    assert!(grown["seconds_to_empty"].is_null(), "the backlog grows: {grown}");
    // Stopped between two checks, so that the tool sees the new process and not the time in between.
    signal(&child, Signal::STOP);
    forebay.kill();
    forebay.start();
    signal(&child, Signal::CONT);
    let other = |look: &Value| look["started_at"] != first["started_at"];
    let restarted = std::iter::from_fn(|| Some(next(&mut lines))).find(other).unwrap();
    assert_eq!(restarted["restarted"], true, "{restarted}");
    assert!(restarted["accepted_per_second"].is_null(), "counters of two runs: {restarted}");
    assert_eq!(restarted["backlog"], 3, "{restarted}");
    assert!(forebay.terminate().success());
    assert!(lines.by_ref().all(|line| line.is_ok()));
    assert_eq!(end(&mut child).code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "the daemon has stopped\n");
}

#[test]
fn a_pipe_gets_one_line_per_check_until_closed() {
    let forebay = started();
    post(&forebay);
    let mut child = tool(&[], &forebay, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for rate in ["accepted/s=- ", "accepted/s=0.0 "] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with("20") && line.contains("Z backlog=1 ") && line.contains(rate), "{line}");
        assert!(line.contains(" source=daemon ") && !line.contains('\x1b'), "{line}");
    }
    drop(lines);
    assert_eq!(end(&mut child).code(), Some(0));
}
