//! Repeated `kill -9` under load, with changes of the number of workers.

use crate::daemon::LONG;
use crate::load::{Load, LoadOptions};
use crate::{assert_once, forebay};
use support::admin::Admin;
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{services, wait};

/// Enough kills to hit every phase of a transaction.
const KILLS: u64 = 20;

/// Returns when the daemon has delivered a record since its start.
pub fn await_sent(forebay: &Forebay) {
    let metrics = || forebay.admin_http().get("/metrics").unwrap().text();
    let sent = |line: &str| line.starts_with("forebay_drain_sent_total{") && !line.ends_with(" 0");
    wait::until_true("a record is sent", LONG, || metrics().lines().any(sent));
}

#[test]
fn every_acknowledged_command_arrives_once_after_twenty_kills() {
    let Some(kafka) = services::kafka("every_acknowledged_command_arrives_once_after_twenty_kills") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    // The checkpoint is written rarely, so that Kafka knows more than the checkpoint after every kill.
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.checkpoint_interval", "1h");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    for kill in 0..KILLS {
        load.await_accepted(50 + 97 * kill % 700);
        // One in four is killed before it has sent anything.
        if kill % 4 != 0 {
            await_sent(&forebay);
        }
        forebay.kill();
        forebay.start();
    }
    load.await_accepted(100);
    let sent = load.stop();
    assert_once("20 kills", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}
