//! `check-config --connect` distinguishes the causes of a rejection, as the running daemon does.

use support::admin::{Admin, unique_name};
use support::daemon::{LONG, kind};
use support::kafka::{CLIENT_USER, Kafka, Listener, Operation, Resource};
use support::process::Forebay;
use support::{services, wait};

use super::super::connections::{assert_check, run_check};
use super::logins_accepted::{in_an_hour, token, with_token};
use super::{daemon_over, topic, with_certificate, with_password};

/// Checks that the report contains a failed broker with the cause.
fn is_refused(kafka: &Kafka, listener: Listener, forebay: Forebay, parts: &[&str]) {
    let (code, report) = run_check(forebay);
    assert_check(&report, "broker", &kafka.secure_address(listener), "failed", parts);
    assert_eq!(code, Some(1), "{report:#}");
}

#[test]
fn check_config_tells_what_is_wrong_with_a_brokers_certificate() {
    let test = "check_config_tells_what_is_wrong_with_a_brokers_certificate";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let at = |listener| {
        let forebay = with_certificate(kafka, &topic, "client");
        forebay.set("kafka.brokers", kafka.secure_address(listener))
    };
    let refused = |listener, reason| {
        is_refused(kafka, listener, at(listener), &["certificate verify failed", reason]);
    };
    refused(Listener::Expired, "the broker's certificate has expired");
    refused(Listener::OtherName, "for another host name");
    let other = kafka.certificates().text_of("other-ca.pem");
    let untrusting = at(Listener::ClientCertificate).set("kafka.ssl_ca_file", other);
    let reason = ["certificate verify failed", "no authority in [kafka] ssl_ca_file"];
    is_refused(kafka, Listener::ClientCertificate, untrusting, &reason);
    let plaintext = at(Listener::ClientCertificate).set("kafka.brokers", kafka.bootstrap());
    let (_, report) = run_check(plaintext);
    assert_check(&report, "broker", &kafka.bootstrap(), "failed", &["[kafka] security_protocol"]);
}

#[test]
fn check_config_tells_which_credentials_are_refused() {
    let test = "check_config_tells_which_credentials_are_refused";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let (topic, files) = (topic(kafka), kafka.certificates());
    let without = daemon_over(kafka, Listener::ClientCertificate, &topic);
    is_refused(kafka, Listener::ClientCertificate, without, &["require a client certificate"]);
    let expired = daemon_over(kafka, Listener::ClientCertificate, &topic)
        .set("kafka.ssl_cert_file", files.text_of("expired-client.pem"))
        .set("kafka.ssl_key_file", files.text_of("expired-client.key"));
    is_refused(kafka, Listener::ClientCertificate, expired, &["which expired at 20"]);
    let wrong = with_password(kafka, &topic, "PLAIN", CLIENT_USER);
    std::fs::write(wrong.dir().join("password"), "another-word").unwrap();
    is_refused(kafka, Listener::Sasl, wrong, &["reject user forebay (PLAIN)", "sasl_password_file"]);
    let mechanism = with_password(kafka, &topic, "SCRAM-SHA-256", CLIENT_USER)
        .set("kafka.brokers", kafka.sasl_bootstrap())
        .set("kafka.security_protocol", "sasl_plaintext");
    let (_, report) = run_check(mechanism);
    assert_check(&report, "broker", &kafka.sasl_bootstrap(), "failed", &["does not offer SCRAM-SHA-256"]);
    let old = with_token(kafka, &topic, &token(CLIENT_USER, 1));
    is_refused(kafka, Listener::Sasl, old, &["expired", "no usable token", "sasl_token_file"]);
    let nobody = with_token(kafka, &topic, &token("", in_an_hour()));
    is_refused(kafka, Listener::Sasl, nobody, &["reject the token"]);
}

/// The clients of `check-config` once got no token.
#[test]
fn check_config_asks_with_a_token_and_says_what_it_cannot_ask() {
    let test = "check_config_asks_with_a_token_and_says_what_it_cannot_ask";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let by_token = || with_token(kafka, &topic, &token(CLIENT_USER, in_an_hour()));
    let (code, report) = run_check(by_token());
    assert_check(&report, "broker", &kafka.secure_address(Listener::Sasl), "ok", &[]);
    let unread = ["may be written", "were not checked: with OAUTHBEARER", "kafka-configs.sh --describe"];
    assert_check(&report, "topic", &topic, "warning", &unread);
    assert_eq!(code, Some(0), "{report:#}");
}

#[test]
fn settings_that_may_not_be_read_and_topics_without_permission_are_told() {
    let test = "settings_that_may_not_be_read_and_topics_without_permission_are_told";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let (unread, denied) = (topic(kafka), topic(kafka));
    kafka.deny_user("no-topic", Operation::DescribeConfigs, Resource::Topic(&unread));
    kafka.deny_user("no-topic", Operation::Write, Resource::Topic(&denied));
    let report = wait::until("the denials are known", LONG, || {
        let forebay = with_password(kafka, &unread, "PLAIN", "no-topic").toml(&kind("other.create", &denied));
        let (code, report) = run_check(forebay);
        let warned = report["checks"].as_array().unwrap().iter().any(|check| check["verdict"] == "warning");
        (warned && code == Some(1)).then_some(report)
    });
    let grant = format!("DescribeConfigs on topic {unread}");
    assert_check(&report, "topic", &unread, "warning", &["may be written", "were not checked", &grant]);
    assert_check(
        &report,
        "topic",
        &denied,
        "failed",
        &["cannot be written", &format!("Write on topic {denied}")],
    );
}

#[test]
fn events_in_a_compacted_topic_are_a_warning() {
    let Some(kafka) = services::secure_kafka("events_in_a_compacted_topic_are_a_warning") else { return };
    let name = unique_name("secured");
    Admin::new(&kafka.bootstrap()).create_topic(&name, 1, 1, &[("cleanup.policy", "compact")]);
    let forebay = with_certificate(kafka, &topic(kafka), "client")
        .toml(&format!("[[kinds]]\nname = \"parcel.event\"\ntopic = \"{name}\"\ncloudevents = \"binary\"\n"));
    let (code, report) = run_check(forebay);
    assert_check(
        &report,
        "topic",
        &name,
        "warning",
        &["may be written", "without the attribute `partitionkey`"],
    );
    assert_eq!((code, &report["ok"]), (Some(0), &serde_json::Value::Bool(true)), "{report:#}");
}
