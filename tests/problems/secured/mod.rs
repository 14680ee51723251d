//! A real broker with TLS, client certificates and SASL: successful logins, and how failures are distinguished.
//!
//! All these tests share one broker. Each has its own topics and users.

mod certificates;
mod checked;
mod logins;
mod logins_accepted;
mod permissions;

use serde_json::Value;

use support::admin::{Admin, unique_name};
use support::consume::read_all;
use support::daemon::{LONG, backlog, kind};
use support::kafka::{CLIENT_PASSWORD, Kafka, Listener};
use support::process::Forebay;
use support::{daemon, wait};

use super::list::{entries, text};

/// Creates a topic with one partition.
fn topic(kafka: &Kafka) -> String {
    let name = unique_name("secured");
    Admin::new(&kafka.bootstrap()).create_topic(&name, 1, 1, &[]);
    name
}

/// A daemon that delivers the kind `order.create` to this topic, over this listener.
fn daemon_over(kafka: &Kafka, listener: Listener, topic: &str) -> Forebay {
    let protocol = if listener == Listener::Sasl { "sasl_ssl" } else { "ssl" };
    daemon::forebay(&kafka.secure_address(listener))
        .toml(&kind("order.create", topic))
        .set("kafka.security_protocol", protocol)
        .set("kafka.ssl_ca_file", kafka.certificates().ca())
        // Only to shorten waits: rejected connections are retried soon.
        .set(r#"kafka.properties."reconnect.backoff.max.ms""#, "500")
        .set("drain.workers", 1)
        .set("alerts.interval", "200ms")
}

/// The same with a client certificate.
fn with_certificate(kafka: &Kafka, topic: &str, name: &str) -> Forebay {
    let files = kafka.certificates();
    daemon_over(kafka, Listener::ClientCertificate, topic)
        .set("kafka.ssl_cert_file", files.text_of(&format!("{name}.pem")))
        .set("kafka.ssl_key_file", files.text_of(&format!("{name}.key")))
}

/// The same with a password.
fn with_password(kafka: &Kafka, topic: &str, mechanism: &str, user: &str) -> Forebay {
    let forebay = daemon_over(kafka, Listener::Sasl, topic);
    let password = forebay.dir().join("password");
    std::fs::write(&password, format!("{CLIENT_PASSWORD}\n")).unwrap();
    forebay
        .set("kafka.sasl_mechanism", mechanism)
        .set("kafka.sasl_username", user)
        .set("kafka.sasl_password_file", password.display().to_string())
}

/// Sends one command, which must be accepted.
fn post(forebay: &Forebay) {
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"key":"a"}"#).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Waits for a problem whose detail contains this text, and returns it.
fn await_detail(forebay: &Forebay, code: &str, needle: &str) -> Value {
    let found = wait::poll(LONG, || {
        entries(forebay, code).into_iter().find(|entry| text(entry, "detail").contains(needle))
    });
    found.unwrap_or_else(|| panic!("no {code} with {needle:?}: {}\n{}", backlog(forebay), forebay.log()))
}

/// Waits until no record remains undelivered, and checks the number of records in the topic.
fn await_delivered(kafka: &Kafka, forebay: &Forebay, topic: &str, records: usize) {
    daemon::await_drained(forebay);
    assert_eq!(read_all(&kafka.bootstrap(), topic).len(), records, "{}", forebay.log());
}
