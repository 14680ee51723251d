//! Reaction of each command to each signal.

use std::fs;

use crate::LONG;
use support::process::Forebay;
use support::wait;

/// Numbers of the signals that must not kill a command, as in signal(7).
const HANGUP: u32 = 1;
const USER: [u32; 2] = [10, 12];

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

/// Waits until the process has handlers for these signals.
fn await_handlers(forebay: &mut Forebay, signals: &[u32]) {
    let path = format!("/proc/{}/status", forebay.pid());
    wait::until_true("the signals are handled", LONG, || {
        let status = fs::read_to_string(&path).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        signals.iter().all(|signal| caught & (1 << (signal - 1)) != 0)
    });
}

/// Configures a Kafka that does not exist.
fn without_kafka(forebay: Forebay) -> Forebay {
    forebay.set("kafka.brokers", "127.0.0.1:1")
}

#[test]
fn a_daemon_survives_hangup_and_user_signals_during_its_start() {
    let mut forebay = forebay();
    forebay.launch();
    await_handlers(&mut forebay, &[HANGUP, USER[0], USER[1]]);
    for _ in 0..2 {
        for signal in ["HUP", "USR1", "USR2"] {
            forebay.signal(signal);
        }
        forebay.await_ready();
    }
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"id":"o-1","amount":1}"#).unwrap();
    assert_eq!(answer.status, 202);
    assert!(forebay.terminate().success());
}

#[test]
fn a_consumer_survives_hangup_and_user_signals_until_interrupted() {
    let url = |forebay: &Forebay| format!("sqlite://{}", forebay.dir().join("users.sqlite").display());
    let forebay = without_kafka(forebay()).args(&["consume"]);
    let url = url(&forebay);
    let mut forebay = forebay.set("database.url", url);
    forebay.start();
    for signal in ["HUP", "USR1", "USR2"] {
        forebay.signal(signal);
    }
    forebay.await_ready();
    forebay.signal("INT");
    assert_eq!(forebay.wait(LONG).code(), Some(0), "{}", forebay.log());
}

/// A closing terminal stops the command that was started there, in order.
#[test]
fn a_drain_ignores_user_signals_and_stops_on_hangup() {
    let mut forebay = without_kafka(forebay());
    forebay.start();
    forebay.http().post("/v1/commands/order.create", r#"{"id":"o-1","amount":1}"#).unwrap();
    assert!(forebay.terminate().success());
    let mut forebay = forebay.args(&["drain"]);
    for signal in ["HUP", "INT", "TERM"] {
        forebay.launch();
        await_handlers(&mut forebay, &[HANGUP, USER[0], USER[1]]);
        forebay.signal("USR1");
        forebay.signal("USR2");
        forebay.signal(signal);
        assert_eq!(forebay.wait(LONG).code(), Some(1), "{}", forebay.log());
        assert!(forebay.log().ends_with("; 1 undelivered records remain in the log\n"), "{}", forebay.log());
    }
}
