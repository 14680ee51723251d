//! One partition unavailable while the others flow.

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric, resident};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::{services, wait};

const SENT: &str = "forebay_drain_sent_total{topic=\"orders.v1\"}";

#[test]
fn a_partition_without_a_leader_holds_back_its_own_records_only() {
    let Some(kafka) = services::kafka("a_partition_without_a_leader_holds_back_its_own_records_only") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::three());
    let admin = Admin::new(&cluster.bootstrap());
    // One replica each: with its broker gone, a partition has no leader.
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
    // Everything of the other two partitions arrives: what is left stands still, and is one partition's alone.
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
    println!("partition: {left} held back, memory {early} → {late} bytes, {counts}");
    assert!(forebay.terminate().success());
}
