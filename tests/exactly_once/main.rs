//! Exactly once, tested on the real binary and a real Apache Kafka: what was answered 202 is there once, in the order of
//! its key, for a consumer that reads committed.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use support::{daemon, load};

use crate::daemon::await_drained;
use crate::load::SentCommands;
use support::consume::read_all;
use support::process::Forebay;

mod brokers;
mod copies;
mod crash;
mod drain_command;
mod modes;
mod poison;
mod topic;
mod workers;

/// A daemon that delivers exactly once.
fn forebay(bootstrap: &str) -> Forebay {
    daemon::forebay(bootstrap).set("drain.delivery", "exactly-once")
}

/// Waits until all is delivered, and holds what a consumer sees against what was answered.
fn assert_once(what: &str, forebay: &Forebay, bootstrap: &str, sent: &SentCommands) {
    await_drained(forebay);
    let counts = support::delivery_check::check(sent, &read_all(bootstrap, "orders.v1"));
    assert_eq!(counts.repeated, 0, "{what}: {counts}\n{}", forebay.log());
    println!("{what}: {counts}");
}
