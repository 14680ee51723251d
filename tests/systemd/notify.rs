//! Notifications to the service manager: ready, alive, stopping.
//!
//! Threads are made to hang from outside: `strace`, attached to one thread, delays each of its system calls for longer
//! than the test. The daemon therefore needs no code for these tests.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use support::child::Child;
use support::process::Forebay;
use support::{scratch, services, wait};

use tempfile::TempDir;

use crate::LONG;

/// Watchdog timeout of the service manager in these tests. The daemon sends two pings in that time.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Longer than a test, in microseconds.
const DELAY_MICROS: &str = "600000000";

#[test]
fn ready_and_stopping_are_notified() {
    let manager = Manager::new();
    let mut forebay = manager.daemon();
    forebay.launch();
    manager.await_message("READY=1");
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"id":"o-1","amount":1}"#).unwrap();
    assert_eq!(answer.status, 202);
    assert!(forebay.terminate().success());
    manager.await_message("STOPPING=1");
}

#[test]
fn the_status_names_waiting_records_and_problems() {
    let manager = Manager::new();
    let mut forebay = manager.daemon().set("kafka.brokers", "127.0.0.1:9");
    forebay.launch();
    manager.await_message("READY=1");
    for number in 0..3 {
        let body = format!(r#"{{"id":"o-{number}","amount":1}}"#);
        assert_eq!(forebay.http().post("/v1/commands/order.create", &body).unwrap().status, 202);
    }
    manager.await_status(|status| status.starts_with("3 waiting, Kafka unreachable for "));
    assert_eq!(forebay.admin_http().post("/admin/drain/pause", "").unwrap().status, 200);
    manager.await_status(|status| status.ends_with(", and 1 more problem"));
    assert!(forebay.terminate().success());
    manager.await_status(|status| status == "finishing requests and records in flight");
}

#[test]
fn pings_stop_when_the_commit_thread_hangs() {
    let Some(strace) = strace("pings_stop_when_the_commit_thread_hangs") else { return };
    let manager = Manager::new();
    let mut forebay = manager.daemon();
    forebay.launch();
    manager.await_message("WATCHDOG=1");
    let _hung = strace.hang(forebay.thread("commit"));
    manager.await_silence();
}

#[test]
fn pings_stop_only_when_all_workers_hang() {
    let Some(strace) = strace("pings_stop_only_when_all_workers_hang") else { return };
    let manager = Manager::new();
    let mut forebay = manager.daemon().set("drain.workers", 2);
    forebay.launch();
    manager.await_message("WATCHDOG=1");
    let _first = strace.hang(forebay.thread("drain-0"));
    // Much longer than the time after which a loop counts as hung.
    for _ in 0..8 {
        manager.await_message("WATCHDOG=1");
    }
    let _second = strace.hang(forebay.thread("drain-1"));
    manager.await_silence();
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let manager = Manager::new();
    let mut forebay = manager.daemon();
    forebay.launch();
    manager.await_message("READY=1");
    // A request that never ends blocks the first phase of the stop.
    let mut request = support::http::Connection::open(&forebay.address()).unwrap();
    request
        .send(b"POST /v1/commands/order.create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        .unwrap();
    forebay.signal("TERM");
    manager.await_message("STOPPING=1");
    forebay.signal("INT");
    assert_eq!(forebay.wait(LONG).code(), Some(130));
}

/// The service manager's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = scratch::dir("manager");
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Manager { socket, dir }
    }

    fn daemon(&self) -> Forebay {
        let notify = self.dir.path().join("notify").display().to_string();
        let micros = WATCHDOG.as_micros().to_string();
        Forebay::new(env!("CARGO_BIN_EXE_forebay"))
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", &micros)
    }

    /// The next message within this time.
    fn message(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line.
    fn await_message(&self, word: &str) {
        while !self.message(LONG).unwrap_or_else(|| panic!("no {word}")).lines().any(|line| line == word) {}
    }

    /// Waits for a status that satisfies the condition.
    fn await_status(&self, wanted: impl Fn(&str) -> bool) {
        let is_it = |line: &str| line.strip_prefix("STATUS=").is_some_and(&wanted);
        while !self.message(LONG).unwrap_or_else(|| panic!("no such status")).lines().any(is_it) {}
    }

    /// Waits until no ping has come for the length of the watchdog timeout.
    fn await_silence(&self) {
        wait::until_true("the pings stop", LONG, || self.message(WATCHDOG).is_none());
    }
}

/// `strace`, used to make single threads hang.
struct Strace(TempDir);

fn strace(test: &str) -> Option<Strace> {
    let found = Command::new("strace").arg("--version").output();
    let found = found.map(|_| Strace(scratch::dir("strace"))).map_err(|error| error.to_string());
    services::available(test, "strace", found)
}

impl Strace {
    /// Makes a thread hang at its next system call, until the returned value is dropped.
    fn hang(&self, thread: u32) -> Child {
        let log = self.0.path().join(thread.to_string());
        let mut command = Command::new("strace");
        let delay = format!("inject=all:delay_enter={DELAY_MICROS}");
        command.args(["-p", &thread.to_string(), "-e", "trace=all", "-e", &delay]);
        let child = Child::spawn("strace", &command, &log);
        wait::until_true("strace is attached", LONG, || child.log().contains("attached"));
        child
    }
}
