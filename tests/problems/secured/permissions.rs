//! Missing permissions of the daemon's user.

use support::admin::unique_name;
use support::consume::read_all;
use support::daemon::{LONG, kind};
use support::kafka::{Operation, Resource};
use support::process::Forebay;
use support::{services, wait};

use super::super::list::{assert_on_all_surfaces, await_end, entries, is_up, text};
use super::logins_accepted::{await_applied, serving_users, user_topics};
use super::{await_delivered, await_detail, post, topic, with_password};

const DENIED: &str = "kafka_authorization_failed";

fn daemon_as(kafka: &support::kafka::Kafka, topic: &str, user: &str) -> Forebay {
    with_password(kafka, topic, "SCRAM-SHA-256", user)
}

#[test]
fn a_topic_without_permission_is_named_and_others_are_delivered() {
    let test = "a_topic_without_permission_is_named_and_others_are_delivered";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let (denied, other) = (topic(kafka), topic(kafka));
    kafka.deny_user("no-topic", Operation::Write, Resource::Topic(&denied));
    let mut forebay = daemon_as(kafka, &denied, "no-topic")
        .toml(&kind("other.create", &other))
        .set("drain.topic_fault_grace", "0s");
    forebay.start();
    post(&forebay);
    let answer = forebay.http().post("/v1/commands/other.create", r#"{"key":"a"}"#).unwrap();
    assert_eq!(answer.status, 202);
    let refused = await_detail(&forebay, DENIED, &format!("access to topic {denied}"));
    assert!(text(&refused, "last_error").contains("Broker: Topic authorization failed"), "{refused}");
    assert_on_all_surfaces(&forebay, &refused);
    assert!(is_up(&forebay, "kafka"), "brokers answer");
    wait::until_true("the other topic has its record", LONG, || {
        read_all(&kafka.bootstrap(), &other).len() == 1
    });
    kafka.undeny_user("no-topic", Operation::Write, Resource::Topic(&denied));
    await_end(&forebay, DENIED);
    await_delivered(kafka, &forebay, &denied, 1);
    assert!(entries(&forebay, "dead_letters").is_empty());
}

#[test]
fn denied_transactional_ids_stop_exactly_once_until_granted() {
    let test = "denied_transactional_ids_stop_exactly_once_until_granted";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let (topic, all) = (topic(kafka), Resource::TransactionalId("*"));
    kafka.deny_user("no-transactions", Operation::Write, all);
    let mut forebay = daemon_as(kafka, &topic, "no-transactions").set("drain.delivery", "exactly-once");
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, DENIED, "its transactional ids");
    assert!(text(&refused, "last_error").contains("Transactional Id authorization failed"), "{refused}");
    assert!(entries(&forebay, "drain_stalled").is_empty(), "one cause, one problem");
    kafka.undeny_user("no-transactions", Operation::Write, all);
    await_end(&forebay, DENIED);
    await_delivered(kafka, &forebay, &topic, 1);
}

#[test]
fn denied_idempotent_writes_are_reported_until_granted() {
    let test = "denied_idempotent_writes_are_reported_until_granted";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    // A user that may write to any topic may also write idempotently.
    let denials = [(Operation::Write, Resource::Topic("*")), (Operation::IdempotentWrite, Resource::Cluster)];
    denials.iter().for_each(|(operation, resource)| kafka.deny_user("no-idempotence", *operation, *resource));
    let mut forebay = daemon_as(kafka, &topic, "no-idempotence");
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, DENIED, "idempotent writes");
    assert!(text(&refused, "last_error").contains("Cluster authorization failed"), "{refused}");
    denials
        .iter()
        .for_each(|(operation, resource)| kafka.undeny_user("no-idempotence", *operation, *resource));
    await_end(&forebay, DENIED);
    await_delivered(kafka, &forebay, &topic, 1);
}

#[test]
fn a_denied_group_is_reported_until_access_is_granted() {
    let Some(kafka) = services::secure_kafka("a_denied_group_is_reported_until_access_is_granted") else {
        return;
    };
    let (topic, group) = (topic(kafka), unique_name("group"));
    user_topics(kafka);
    kafka.deny_user("no-group", Operation::Read, Resource::Group(&group));
    let mut forebay = serving_users(daemon_as(kafka, &topic, "no-group"), &group);
    forebay.start();
    let refused = await_detail(&forebay, DENIED, "denies the consumer");
    assert!(text(&refused, "last_error").contains("Group authorization failed"), "{refused}");
    kafka.undeny_user("no-group", Operation::Read, Resource::Group(&group));
    await_end(&forebay, DENIED);
    await_applied(&forebay, "bob", "+4930123457");
}
