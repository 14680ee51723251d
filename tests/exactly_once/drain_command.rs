//! `forebay drain`: the log of a lost machine, drained from another directory.

use std::process::Command;

use crate::crash::await_sent;
use crate::daemon;
use crate::daemon::LONG;
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::{DeliveryCounts, check};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::scratch::copy;
use support::services;

/// Kills a daemon with a backlog under load, then copies, inspects and drains its log. Returns the records in Kafka.
fn kill_and_copy_log(test: &str, delivery: &str) -> Option<DeliveryCounts> {
    let kafka = services::kafka(test)?;
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut owner = daemon::forebay(&cluster.bootstrap())
        .set("drain.delivery", delivery)
        .set("drain.workers", 3)
        .set("drain.checkpoint_interval", "1h");
    owner.start();
    let load = Load::start(&LoadOptions::new(owner.address()));
    load.await_accepted(500);
    await_sent(&owner);
    owner.admin_http().post("/admin/drain/pause", "").unwrap();
    load.await_accepted(500);
    let sent = load.stop();
    owner.kill();
    let mut saved = daemon::forebay(&cluster.bootstrap())
        .set("drain.delivery", delivery)
        .set("drain.workers", 1)
        .args(&["drain", "--dry-run"]);
    copy(&owner.wal_dir(), &saved.wal_dir());
    let before = files(&saved);
    saved.launch();
    assert!(saved.wait(LONG).success(), "{}", saved.log());
    assert!(saved.log().contains("undelivered records"), "{}", saved.log());
    assert!(saved.log().contains("order.create"), "{}", saved.log());
    assert_eq!(files(&saved), before, "a dry run changes nothing");
    let mut saved = saved.args(&["drain"]);
    saved.launch();
    assert!(saved.wait(LONG).success(), "{}", saved.log());
    assert!(saved.log().contains("all records are delivered"), "{}", saved.log());
    Some(check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")))
}

/// Names, sizes and times of all files of the log.
fn files(forebay: &Forebay) -> String {
    let listed = Command::new("ls").arg("-lR").arg("--full-time").arg(forebay.wal_dir()).output().unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn a_saved_log_is_emptied_exactly_once() {
    let Some(counts) = kill_and_copy_log("a_saved_log_is_emptied_exactly_once", "exactly-once") else {
        return;
    };
    assert_eq!(counts.repeated, 0, "{counts}");
}

#[test]
fn a_saved_log_is_emptied_at_least_once() {
    let Some(counts) = kill_and_copy_log("a_saved_log_is_emptied_at_least_once", "at-least-once") else {
        return;
    };
    println!("{counts}");
}

#[test]
fn an_empty_directory_and_an_embedded_broker_are_rejected() {
    let mut nothing = daemon::forebay("127.0.0.1:1").args(&["drain"]);
    nothing.launch();
    assert_eq!(nothing.wait(LONG).code(), Some(73), "{}", nothing.log());
    assert!(nothing.log().contains("is not a log"), "{}", nothing.log());
    assert!(!nothing.wal_dir().exists(), "nothing is created in an empty directory");
    let mut embedded = daemon::forebay("embedded").args(&["drain"]);
    embedded.launch();
    assert_eq!(embedded.wait(LONG).code(), Some(64), "{}", embedded.log());
}
