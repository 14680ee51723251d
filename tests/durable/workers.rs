//! The number of workers changes between two starts.

use crate::daemon::{await_drained, forebay};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::services;

#[test]
fn changing_the_number_of_workers_keeps_order_and_loses_nothing() {
    let Some(kafka) = services::kafka("changing_the_number_of_workers_keeps_order_and_loses_nothing") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 1);
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    for workers in [7, 2, 32, 3] {
        load.await_accepted(300);
        forebay.kill();
        forebay.configure("drain.workers", workers);
        forebay.start();
    }
    load.await_accepted(300);
    let sent = load.stop();
    await_drained(&forebay);
    println!("workers changed: {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    assert!(forebay.terminate().success());
}
