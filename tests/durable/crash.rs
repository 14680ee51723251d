//! Repeated `kill -9` under load.

use crate::daemon::{await_drained, forebay};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::services;

/// Number of kills: enough to hit every phase of commit, rotation, checkpoint and recovery. They take a minute.
const KILLS: u64 = 30;

#[test]
fn every_202_is_in_kafka_after_thirty_kills_under_load() {
    let Some(kafka) = services::kafka("every_202_is_in_kafka_after_thirty_kills_under_load") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.checkpoint_interval", "50ms");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    for kill in 0..KILLS {
        // A different amount of work each time, so that kills hit different phases.
        load.await_accepted(50 + 97 * kill % 700);
        forebay.kill();
        forebay.start();
    }
    load.await_accepted(100);
    let sent = load.stop();
    await_drained(&forebay);
    let counts = check(&sent, &read_all(&cluster.bootstrap(), "orders.v1"));
    assert!(counts.acknowledged as u64 > KILLS * 50, "{counts}");
    println!("{KILLS} kills: {counts}");
    assert!(forebay.terminate().success());
}
