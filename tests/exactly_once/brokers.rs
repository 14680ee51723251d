//! Brokers frozen beyond the transaction timeout, coordinators that move, partitions without a leader.

use std::time::Duration;

use crate::crash::await_sent;
use crate::daemon::{LONG, backlog_value};
use crate::load::{Load, LoadOptions};
use crate::{assert_once, forebay};
use support::admin::Admin;
use support::kafka::ClusterOptions;
use support::{services, wait};

#[test]
fn a_broker_frozen_beyond_the_transaction_timeout() {
    let Some(kafka) = services::kafka("a_broker_frozen_beyond_the_transaction_timeout") else {
        return;
    };
    // Brokers check for expired transactions every ten seconds.
    let options =
        ClusterOptions::single().set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500");
    let cluster = kafka.start(options);
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).toml(
        "[kafka.properties]\n\"transaction.timeout.ms\" = \"2000\"\n\"socket.timeout.ms\" = \"1500\"\n",
    );
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    await_sent(&forebay);
    for _ in 0..3 {
        load.await_accepted(300);
        cluster.broker(1).freeze();
        // Longer than the timeout plus the time the broker needs to detect it.
        std::thread::sleep(Duration::from_secs(5));
        cluster.broker(1).thaw();
        let before = backlog_value(&forebay, "watermark_lsn");
        wait::until_true("delivery continues", LONG, || backlog_value(&forebay, "watermark_lsn") > before);
    }
    let sent = load.stop();
    assert_once("frozen broker", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}

#[test]
fn killed_transaction_coordinators() {
    let Some(kafka) = services::kafka("killed_transaction_coordinators") else { return };
    let cluster = kafka.start(ClusterOptions::three());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 6, 3, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    await_sent(&forebay);
    // Each broker in turn leads some partition of the transaction state, and some of the topic and the positions.
    for partition in 0..3 {
        load.await_accepted(500);
        let leader = admin.leader("__transaction_state", partition).unwrap();
        cluster.broker(leader).kill();
        load.await_accepted(500);
        let before = backlog_value(&forebay, "watermark_lsn");
        wait::until_true("delivery continues", LONG, || backlog_value(&forebay, "watermark_lsn") > before);
        cluster.broker(leader).start();
    }
    let sent = load.stop();
    assert_once("coordinators killed", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}

/// Kafka cannot end a transaction that includes a partition without a leader, so the workers that had one wait. None
/// of their records is lost, repeated or overtaken, and the daemon still accepts commands.
#[test]
fn a_partition_that_temporarily_loses_its_leader_in_a_transaction() {
    let test = "a_partition_that_temporarily_loses_its_leader_in_a_transaction";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::three());
    let admin = Admin::new(&cluster.bootstrap());
    // With one replica each, a partition has no leader while its broker is stopped.
    admin.create_topic("orders.v1", 3, 1, &[("min.insync.replicas", "1")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 2);
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    await_sent(&forebay);
    let gone = admin.leader("orders.v1", 1).unwrap();
    cluster.broker(gone).kill();
    let before = forebay.log().len();
    wait::until_true("the problem is reported", LONG, || {
        forebay.log()[before..].contains("drain.transaction_pending")
    });
    let sent = load.stop();
    cluster.broker(gone).start();
    assert_once("partition without a leader", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}
