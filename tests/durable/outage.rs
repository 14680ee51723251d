//! Kafka stopped, and Kafka frozen, under load and back.

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric, resident};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::{services, wait};

/// Acceptance goes on, the gauges tell the truth to the record, the backlog falls to 0 by itself, memory is flat.
fn outage(test: &str, away: impl Fn(&support::kafka::Broker), back: impl Fn(&support::kafka::Broker)) {
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let mut plan = LoadOptions::new(forebay.address());
    plan.padding_bytes = 1000;
    let load = Load::start(&plan);
    load.await_accepted(500);
    away(cluster.broker(1));
    load.await_accepted(4_000);
    let early = resident(&forebay);
    // More than the window of what may be in flight, so that the backlog is on disk alone.
    load.await_accepted(30_000);
    let late = resident(&forebay);
    let sent = load.stop();
    let answered: u64 = sent.values().flatten().filter(|answer| answer.is_some()).count() as u64;
    // What was on its way when Kafka went is confirmed or not: then nothing moves, and both say the same.
    let backlog = wait::until("the gauge tells the backlog", LONG, || {
        let backlog = backlog_value(&forebay, "backlog");
        (metric(&forebay, "kafka_producer_wal_backlog") as u64 == backlog).then_some(backlog)
    });
    assert!(backlog >= 30_000, "{backlog} of {answered}");
    wait::until_true("the oldest record grows older", LONG, || {
        metric(&forebay, "kafka_producer_wal_oldest_age_seconds") > 1.0
    });
    // 30 MB more on disk; the window of what may be in flight is all that memory may grow by.
    assert!(late < early + (40 << 20), "memory grew from {early} to {late} bytes");
    back(cluster.broker(1));
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
