//! Three brokers, of which the leader is killed under load.

use crate::daemon::{await_drained, forebay};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::services;

#[test]
fn a_leader_killed_under_load_loses_and_reorders_nothing() {
    let Some(kafka) = services::kafka("a_leader_killed_under_load_loses_and_reorders_nothing") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::three());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 3, 3, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(1_000);
    let leader = admin.leader("orders.v1", 0).unwrap();
    cluster.broker(leader).kill();
    load.await_accepted(2_000);
    admin.await_leader_other_than(leader, "orders.v1", 0);
    cluster.broker(leader).start();
    load.await_accepted(1_000);
    let sent = load.stop();
    await_drained(&forebay);
    println!("leader killed: {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    assert!(forebay.terminate().success());
}
