//! The number of workers changes between starts, and the daemon crashes during that change.

use std::time::Duration;

use crate::crash::await_sent;
use crate::load::{Load, LoadOptions};
use crate::{assert_once, forebay};
use support::admin::Admin;
use support::kafka::ClusterOptions;
use support::services;

#[test]
fn changing_the_number_of_workers_and_crashing_repeats_nothing() {
    let test = "changing_the_number_of_workers_and_crashing_repeats_nothing";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay =
        forebay(&cluster.bootstrap()).set("drain.workers", 2).set("drain.checkpoint_interval", "1h");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    // A start takes half a second to fence and read. Each crash hits another moment of it, or comes after it.
    for (workers, dies_after) in
        [(7, None), (3, Some(50)), (12, Some(300)), (1, Some(600)), (5, Some(1000)), (2, None)]
    {
        load.await_accepted(300);
        forebay.kill();
        forebay.configure("drain.workers", workers);
        forebay.start();
        match dies_after {
            Some(millis) => std::thread::sleep(Duration::from_millis(millis)),
            None => await_sent(&forebay),
        }
    }
    load.await_accepted(300);
    let sent = load.stop();
    assert_once("workers changed", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}

#[test]
fn a_lost_checkpoint_costs_fencing_and_no_repeat() {
    let Some(kafka) = services::kafka("a_lost_checkpoint_costs_fencing_and_no_repeat") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 5);
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(500);
    await_sent(&forebay);
    forebay.kill();
    std::fs::remove_file(forebay.wal_dir().join("checkpoint")).unwrap();
    forebay.configure("drain.workers", 2);
    forebay.start();
    load.await_accepted(500);
    let sent = load.stop();
    assert_once("checkpoint lost", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}
