//! Changes between the delivery modes.

use crate::crash::await_sent;
use crate::daemon::await_drained;
use crate::forebay;
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::services;

#[test]
fn clean_stops_repeat_nothing_in_any_delivery_mode() {
    let Some(kafka) = services::kafka("clean_stops_repeat_nothing_in_any_delivery_mode") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    for delivery in ["at-least-once", "exactly-once", "at-least-once", "exactly-once"] {
        load.await_accepted(300);
        await_sent(&forebay);
        assert!(forebay.terminate().success());
        forebay.configure("drain.delivery", delivery);
        forebay.start();
    }
    load.await_accepted(300);
    let sent = load.stop();
    crate::assert_once("modes changed", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}

#[test]
fn committed_records_are_not_repeated_after_a_mode_change() {
    let test = "committed_records_are_not_repeated_after_a_mode_change";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    // Without a checkpoint, only Kafka knows the positions.
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.checkpoint_interval", "1h");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(500);
    await_sent(&forebay);
    let sent = load.stop();
    await_drained(&forebay);
    forebay.kill();
    forebay.configure("drain.delivery", "at-least-once");
    forebay.start();
    await_drained(&forebay);
    let counts = check(&sent, &read_all(&cluster.bootstrap(), "orders.v1"));
    assert_eq!(counts.repeated, 0, "{counts}\n{}", forebay.log());
    assert!(forebay.terminate().success());
}
