//! The order of a key while its topic changes: partitions are added, the topic is deleted and recreated.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric_if_any};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::{read_all, read_until};
use support::delivery_check::{check, out_of_order};
use support::kafka::ClusterOptions;
use support::{services, wait};

/// The number of records that a partition has received.
fn end_of(bootstrap: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", "end").create().unwrap();
    consumer.fetch_watermarks("orders.v1", partition, Duration::from_secs(5)).map_or(0, |(_, end)| end)
}

/// Regression: parked records, assigned with the old number of partitions, were overtaken by records sent with the new
/// one.
#[test]
fn records_parked_while_partitions_are_added_are_not_overtaken() {
    let Some(kafka) = services::kafka("records_parked_while_partitions_are_added_are_not_overtaken") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::three());
    let bootstrap = cluster.bootstrap();
    let admin = Admin::new(&bootstrap);
    // One replica each: without its broker, a partition has no leader.
    admin.create_topic("orders.v1", 2, 1, &[("min.insync.replicas", "1")]);
    let mut forebay = forebay(&bootstrap)
        .set("drain.workers", 2)
        .toml("[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = 1000");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(300);
    let gone = admin.leader("orders.v1", 1).unwrap();
    cluster.broker(gone).kill();
    let parked = || metric_if_any(&forebay, "forebay_drain_parked{topic=\"orders.v1\"}");
    wait::until_true("records of the partition are parked", LONG, || {
        parked().is_some_and(|count| count > 100.0)
    });
    admin.add_partitions("orders.v1", 6);
    // The stopped broker may lead some of them, too.
    let used = || (2..6).filter(|n| end_of(&bootstrap, *n) > 20).count();
    wait::until_true("new partitions are used", LONG, || used() >= 2);
    let sent = load.stop();
    cluster.broker(gone).start();
    await_drained(&forebay);
    let mut records = read_all(&bootstrap, "orders.v1");
    // The records of a key are in two partitions.
    records.sort_by_key(|record| record.timestamp);
    println!("partitions added: {}", check(&sent, &records));
    assert!(forebay.terminate().success());
}

/// Regression: in 8 of 58 rounds the first waiting record of a key arrived after later ones.
#[test]
fn a_recreated_topic_gets_each_keys_records_in_order() {
    const ROUNDS: usize = 12;
    let Some(kafka) = services::kafka("a_recreated_topic_gets_each_keys_records_in_order") else {
        return;
    };
    // Otherwise the daemon's metadata request creates the topic before the test does.
    let cluster = kafka.start(ClusterOptions::single().set("auto.create.topics.enable", "false"));
    let bootstrap = cluster.bootstrap();
    let admin = Admin::new(&bootstrap);
    admin.create_topic("orders.v1", 3, 1, &[]);
    let mut forebay = forebay(&bootstrap).set("drain.workers", 2).set("drain.topic_fault_grace", "10m");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    let mut broken = Vec::new();
    for _ in 0..ROUNDS {
        read_until(&bootstrap, "orders.v1", LONG, |records| records.len() >= 500);
        admin.delete_topic("orders.v1");
        admin.create_topic("orders.v1", 3, 1, &[]);
        let records = read_until(&bootstrap, "orders.v1", LONG, |records| records.len() >= 500);
        broken.extend(out_of_order(&records));
    }
    load.stop();
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 0);
    assert!(broken.is_empty(), "{} of {ROUNDS} rounds: {broken:?}", broken.len());
    assert!(forebay.terminate().success());
}
