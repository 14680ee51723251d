//! Kafka stopped or frozen under load, and restored.

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric, resident};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::{services, wait};

/// Checks that commands are still accepted, the gauges are exact, the backlog falls to 0 without intervention, and
/// memory does not grow.
fn outage(test: &str, fail: impl Fn(&support::kafka::Broker), restore: impl Fn(&support::kafka::Broker)) {
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let mut plan = LoadOptions::new(forebay.address());
    plan.padding_bytes = 1000;
    let load = Load::start(&plan);
    load.await_accepted(500);
    fail(cluster.broker(1));
    load.await_accepted(4_000);
    let early = resident(&forebay);
    // More than the in-flight limit, so that most of the backlog is only on disk.
    load.await_accepted(30_000);
    let late = resident(&forebay);
    let sent = load.stop();
    let answered: u64 = sent.values().flatten().filter(|answer| answer.is_some()).count() as u64;
    // Records in flight at the start of the outage are confirmed or not. Then nothing changes, and both figures agree.
    let backlog = wait::until("the gauge agrees with the backlog", LONG, || {
        let backlog = backlog_value(&forebay, "backlog");
        (metric(&forebay, "kafka_producer_wal_backlog") as u64 == backlog).then_some(backlog)
    });
    assert!(backlog >= 30_000, "{backlog} of {answered}");
    wait::until_true("the oldest record grows older", LONG, || {
        metric(&forebay, "kafka_producer_wal_oldest_age_seconds") > 1.0
    });
    // 30 MB more on disk. Memory may grow only by the in-flight limit.
    assert!(late < early + (40 << 20), "memory grew from {early} to {late} bytes");
    restore(cluster.broker(1));
    await_drained(&forebay);
    assert_eq!(metric(&forebay, "kafka_producer_wal_oldest_age_seconds"), 0.0);
    let records = read_all(&cluster.bootstrap(), "orders.v1");
    let counts = check(&sent, &records);
    println!("{test}: backlog {backlog}, memory {early} → {late} bytes, {counts}");
    assert!(forebay.terminate().success());
}

#[test]
fn kafka_stopped_under_load_and_started_again() {
    outage("kafka_stopped_under_load_and_started_again", |broker| broker.stop(), |broker| broker.start());
}

#[test]
fn kafka_frozen_under_load_and_thawed() {
    outage("kafka_frozen_under_load_and_thawed", |broker| broker.freeze(), |broker| broker.thaw());
}
