//! Exactly-once delivery, tested with the real binary and a real Apache Kafka. Every acknowledged command is in Kafka
//! once, in the order of its key, for a consumer that reads committed records.
// A failed preparation step of a test cannot report to a caller. It prints the cause and ends the test.
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

/// A daemon with exactly-once delivery.
fn forebay(bootstrap: &str) -> Forebay {
    daemon::forebay(bootstrap).set("drain.delivery", "exactly-once")
}

/// Waits until all records are delivered, and compares the records that a consumer reads with the acknowledged
/// commands.
fn assert_once(what: &str, forebay: &Forebay, bootstrap: &str, sent: &SentCommands) {
    await_drained(forebay);
    let counts = support::delivery_check::check(sent, &read_all(bootstrap, "orders.v1"));
    assert_eq!(counts.repeated, 0, "{what}: {counts}\n{}", forebay.log());
    println!("{what}: {counts}");
}
