//! A real broker with TLS, client certificates and SASL: what works, and how what does not is told apart.
//!
//! One broker serves all of these tests, each with topics and users of its own.

mod certificates;
mod checked;
mod logins;
mod permissions;
mod works;

use serde_json::Value;

use support::admin::{Admin, unique_name};
use support::consume::read_all;
use support::daemon::{LONG, backlog, kind};
use support::kafka::{CLIENT_PASSWORD, Kafka, Listener};
use support::process::Forebay;
use support::{daemon, wait};

use super::list::{entries, text};

/// A new topic of one partition.
fn topic(kafka: &Kafka) -> String {
    let name = unique_name("secured");
    Admin::new(&kafka.bootstrap()).create_topic(&name, 1, 1, &[]);
    name
}

/// A daemon that delivers kind `order.create` to this topic, over this listener.
fn over(kafka: &Kafka, listener: Listener, topic: &str) -> Forebay {
    let protocol = if listener == Listener::Sasl { "sasl_ssl" } else { "ssl" };
    daemon::forebay(&kafka.secure_address(listener))
        .toml(&kind("order.create", topic))
        .set("kafka.security_protocol", protocol)
        .set("kafka.ssl_ca_file", kafka.certificates().ca())
        // Waiting only: what was refused is tried again soon.
        .set(r#"kafka.properties."reconnect.backoff.max.ms""#, "500")
        .set("drain.workers", 1)
        .set("alerts.interval", "200ms")
}

/// The same with a certificate of the client's.
fn with_certificate(kafka: &Kafka, topic: &str, name: &str) -> Forebay {
    let files = kafka.certificates();
    over(kafka, Listener::ClientCertificate, topic)
        .set("kafka.ssl_cert_file", files.text_of(&format!("{name}.pem")))
        .set("kafka.ssl_key_file", files.text_of(&format!("{name}.key")))
}

/// The same with a password.
fn with_password(kafka: &Kafka, topic: &str, mechanism: &str, user: &str) -> Forebay {
    let forebay = over(kafka, Listener::Sasl, topic);
    let password = forebay.dir().join("password");
    std::fs::write(&password, format!("{CLIENT_PASSWORD}\n")).unwrap();
    forebay
        .set("kafka.sasl_mechanism", mechanism)
        .set("kafka.sasl_username", user)
        .set("kafka.sasl_password_file", password.display().to_string())
}

/// Accepts one command.
fn post(forebay: &Forebay) {
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"key":"a"}"#).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Waits until a problem has this in its sentence; the entry.
fn await_detail(forebay: &Forebay, code: &str, needle: &str) -> Value {
    let found = wait::poll(LONG, || {
        entries(forebay, code).into_iter().find(|entry| text(entry, "detail").contains(needle))
    });
    found.unwrap_or_else(|| panic!("no {code} with {needle:?}: {}\n{}", backlog(forebay), forebay.log()))
}

/// Waits until nothing is left to deliver, and sees that the topic has what was accepted.
fn is_delivered(kafka: &Kafka, forebay: &Forebay, topic: &str, records: usize) {
    daemon::await_drained(forebay);
    assert_eq!(read_all(&kafka.bootstrap(), topic).len(), records, "{}", forebay.log());
}
