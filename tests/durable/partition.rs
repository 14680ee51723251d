//! One unavailable partition, while the others are delivered.

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric, resident};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::{services, wait};

const SENT: &str = "forebay_drain_sent_total{topic=\"orders.v1\"}";

#[test]
fn a_partition_without_leader_delays_only_its_own_records() {
    let Some(kafka) = services::kafka("a_partition_without_leader_delays_only_its_own_records") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::three());
    let admin = Admin::new(&cluster.bootstrap());
    // One replica each: without its broker, a partition has no leader.
    admin.create_topic("orders.v1", 3, 1, &[("min.insync.replicas", "1")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 2);
    forebay.start();
    let mut plan = LoadOptions::new(forebay.address());
    plan.padding_bytes = 1_000;
    let load = Load::start(&plan);
    load.await_accepted(1_000);
    let gone = admin.leader("orders.v1", 1).unwrap();
    cluster.broker(gone).kill();
    load.await_accepted(4_000);
    let early = resident(&forebay);
    load.await_accepted(30_000);
    let late = resident(&forebay);
    let sent = load.stop();
    // All records of the other two partitions are delivered. The rest waits, and belongs to one partition.
    let accepted = sent.values().flatten().count() as u64;
    wait::until_true("the other partitions are delivered", LONG, || {
        metric(&forebay, SENT) as u64 > accepted / 2 && backlog_value(&forebay, "backlog") < accepted * 6 / 10
    });
    let left = backlog_value(&forebay, "backlog");
    assert!(left > 1_000, "{left} of {accepted}");
    assert!(late < early + (40 << 20), "memory grew from {early} to {late} bytes");
    cluster.broker(gone).start();
    await_drained(&forebay);
    let counts = check(&sent, &read_all(&cluster.bootstrap(), "orders.v1"));
    println!("partition: {left} parked, memory {early} → {late} bytes, {counts}");
    assert!(forebay.terminate().success());
}
