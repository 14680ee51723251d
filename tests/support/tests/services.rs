//! Tests of the services that other tests rely on.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use support::admin::{Admin, unique_name};
use support::consume::{Record, read_all, read_until};
use support::kafka::{CLIENT_PASSWORD, CLIENT_USER, ClusterOptions, Resource};
use support::produce::{produce, produce_ok};
use support::{services, wait};

/// A timeout above any election and any reply, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);

/// Timeout of a producer that must fail: longer than a healthy broker takes to reply.
const SHORT: Duration = Duration::from_secs(3);

#[test]
fn a_broker_keeps_records_through_kill_stop_and_freeze() {
    let Some(kafka) = services::kafka("a_broker_keeps_records_through_kill_stop_and_freeze") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    let bootstrap = cluster.bootstrap();
    Admin::new(&bootstrap).create_topic("orders", 3, 1, &[]);
    produce_ok(&bootstrap, "orders", &[("a", "1"), ("b", "2"), ("c", "3")]);

    let broker = cluster.broker(1);
    broker.kill();
    broker.start();
    produce_ok(&bootstrap, "orders", &[("a", "4")]);

    broker.stop();
    broker.start();
    produce_ok(&bootstrap, "orders", &[("b", "5")]);

    broker.freeze();
    let outcomes = produce(&bootstrap, "orders", &[("c", "never")], SHORT, &[]);
    assert_eq!(outcomes, [Err(RDKafkaErrorCode::MessageTimedOut)]);
    broker.thaw();
    produce_ok(&bootstrap, "orders", &[("c", "6")]);

    let records = read_all(&bootstrap, "orders");
    let of_key = |key: &str| -> Vec<String> {
        let own = records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
        own.map(Record::text).collect()
    };
    assert_eq!(of_key("a"), ["1", "4"]);
    assert_eq!(of_key("b"), ["2", "5"]);
    assert_eq!(of_key("c"), ["3", "6"]);
}

#[test]
fn three_brokers_continue_after_a_killed_leader() {
    let Some(kafka) = services::kafka("three_brokers_continue_after_a_killed_leader") else { return };
    let cluster = kafka.start(ClusterOptions::three());
    let bootstrap = cluster.bootstrap();
    let admin = Admin::new(&bootstrap);
    admin.create_topic("orders", 1, 3, &[]);
    produce_ok(&bootstrap, "orders", &[("a", "1"), ("a", "2")]);

    let old = admin.leader("orders", 0).unwrap();
    cluster.broker(old).kill();
    let new = admin.await_leader_other_than(old, "orders", 0);
    assert_ne!(new, old);
    produce_ok(&bootstrap, "orders", &[("a", "3")]);
    cluster.broker(old).start();

    let records = read_until(&bootstrap, "orders", LONG, |records| records.len() >= 3);
    let values: Vec<String> = records.iter().map(Record::text).collect();
    assert_eq!(values, ["1", "2", "3"]);
}

#[test]
fn a_permission_can_be_denied_and_granted_again() {
    let Some(kafka) = services::kafka("a_permission_can_be_denied_and_granted_again") else { return };
    let cluster = kafka.start(ClusterOptions::single().acls());
    let bootstrap = cluster.bootstrap();
    Admin::new(&bootstrap).create_topic("orders", 1, 1, &[]);
    produce_ok(&bootstrap, "orders", &[("a", "1")]);
    let write = || produce(&bootstrap, "orders", &[("a", "2")], SHORT, &[])[0];

    cluster.deny("Write", Resource::Topic("orders"));
    wait::until_true("the broker refuses", LONG, || {
        write() == Err(RDKafkaErrorCode::TopicAuthorizationFailed)
    });
    cluster.undeny("Write", Resource::Topic("orders"));
    wait::until_true("the broker accepts the record", LONG, || write().is_ok());

    let login = |password| {
        let sasl = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", CLIENT_USER),
            ("sasl.password", password),
        ];
        produce(&cluster.sasl_bootstrap(), "orders", &[("a", "3")], SHORT, &sasl)[0]
    };
    assert!(login(CLIENT_PASSWORD).is_ok());
    assert_eq!(login("wrong"), Err(RDKafkaErrorCode::MessageTimedOut));
}

#[test]
fn topics_change_on_a_shared_broker() {
    let Some(bootstrap) = services::shared_kafka("topics_change_on_a_shared_broker") else { return };
    let admin = Admin::new(&bootstrap);
    let topic = unique_name("orders");
    admin.create_topic(&topic, 1, 1, &[("max.message.bytes", "1000")]);
    let long = "x".repeat(2000);
    let write = || produce(&bootstrap, &topic, &[("a", &long)], LONG, &[])[0];
    assert_eq!(write(), Err(RDKafkaErrorCode::MessageSizeTooLarge));

    admin.set_topic_config(&topic, &[("max.message.bytes", "10000")]);
    wait::until_true("the longer record is accepted", LONG, || write().is_ok());
    assert_eq!(read_all(&bootstrap, &topic).len(), 1);

    admin.set_partitions(&topic, 4);
    assert!(admin.leader(&topic, 3).is_some());
    admin.delete_topic(&topic);
    assert_eq!(admin.leader(&topic, 0), None);
    let gone = produce(&bootstrap, &topic, &[("a", "1")], SHORT, &[]);
    assert!(gone[0].is_err(), "a write does not create a topic");
}
