//! A wall clock that is temporarily wrong.

use std::path::Path;

use crate::daemon::{LONG, await_drained, backlog_value, forebay};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::clock::FakeClock;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::{ClusterOptions, Jars, Kafka};
use support::process::Forebay;
use support::{scratch, services, wait};

/// Seconds ahead, more than a broker accepts for a record (`message.timestamp.after.max.ms`, one hour by default).
const AHEAD_S: i64 = 3 * 3_600;

/// Seconds behind, more than any test waits.
const BEHIND_S: i64 = 3 * 3_600;

/// The time by the daemon's clock, from which ids and times of new commands come.
fn accepted_at(forebay: &Forebay) -> String {
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"id":"probe","amount":1}"#).unwrap();
    answer.json()["accepted_at"].as_str().unwrap().to_owned()
}

/// Starts a broker, a daemon with its own clock, and a load.
fn begin(kafka: &Jars, home: &Path) -> (Kafka, Forebay, FakeClock, Load) {
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 3, 1, &[]);
    let (mut forebay, clock) = FakeClock::install(forebay(&cluster.bootstrap()), home);
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(200);
    (cluster, forebay, clock, load)
}

#[test]
fn a_clock_hours_ahead_loses_no_record() {
    let Some(kafka) = services::kafka("a_clock_hours_ahead_loses_no_record") else { return };
    let home = scratch::dir("clock");
    let (cluster, mut forebay, clock, load) = begin(&kafka, home.path());
    let before = accepted_at(&forebay);
    clock.set(AHEAD_S);
    wait::until_true("the daemon's clock is ahead", LONG, || accepted_at(&forebay)[..13] > before[..13]);
    load.await_accepted(1_000);
    // The broker rejects these records, but they wait: the clock is the cause, and may be corrected.
    wait::until_true("records wait", LONG, || {
        backlog_value(&forebay, "backlog") > 500 || backlog_value(&forebay, "dead") > 0
    });
    assert_eq!(backlog_value(&forebay, "dead"), 0, "{}", forebay.log());
    // The clock is corrected during a restart.
    let sent = load.stop();
    forebay.kill();
    clock.set(0);
    forebay.start();
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 0, "{}", forebay.log());
    let records: Vec<_> = read_all(&cluster.bootstrap(), "orders.v1")
        .into_iter()
        .filter(|record| record.key.as_deref() != Some(b"probe"))
        .collect();
    println!("clock: {}", check(&sent, &records));
    assert!(forebay.terminate().success());
}

/// librdkafka waits until an absolute wall-clock time (its issue 2145). After the clock is set back by hours, such a
/// wait takes hours longer.
#[test]
fn a_clock_set_back_by_hours_ends_the_daemon() {
    let test = "a_clock_set_back_by_hours_ends_the_daemon";
    let Some(kafka) = services::kafka(test) else { return };
    let home = scratch::dir("clock");
    let (cluster, mut forebay, clock, load) = begin(&kafka, home.path());
    // Without a broker, librdkafka waits for its next attempt to connect. This wait would become longer.
    cluster.broker(1).kill();
    load.await_accepted(500);
    clock.set(-BEHIND_S);
    let code = forebay.wait(LONG).code();
    assert_eq!(code, Some(1), "the service manager restarts it after this exit code: {}", forebay.log());
    let said = forebay.log();
    assert!(said.contains("the system clock was set back by 10"), "{said}");
    cluster.broker(1).start();
    forebay.start();
    load.await_accepted(1_000);
    let sent = load.stop();
    await_drained(&forebay);
    println!("clock: {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    assert!(forebay.terminate().success());
}
