//! Names, passwords and tokens that the broker rejects.

use std::fs;

use support::kafka::{CLIENT_PASSWORD, CLIENT_USER};
use support::services;

use super::super::list::{assert_on_all_surfaces, await_end, entries, text};
use super::logins_accepted::{in_an_hour, token, with_token};
use super::{await_delivered, await_detail, post, topic, with_password};

const REFUSED: &str = "kafka_authentication_failed";

#[test]
fn a_wrong_password_is_reported_until_the_file_is_corrected() {
    let test = "a_wrong_password_is_reported_until_the_file_is_corrected";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let mut forebay = with_password(kafka, &topic, "PLAIN", CLIENT_USER);
    let file = forebay.dir().join("password");
    fs::write(&file, "another-word").unwrap();
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, REFUSED, "reject user forebay (PLAIN)");
    assert!(text(&refused, "last_error").contains("Invalid username or password"), "{refused}");
    assert_on_all_surfaces(&forebay, &refused);
    fs::write(&file, CLIENT_PASSWORD).unwrap();
    forebay.restart();
    await_delivered(kafka, &forebay, &topic, 1);
    assert!(entries(&forebay, REFUSED).is_empty());
    let log = forebay.log();
    assert!(
        !log.contains("another-word") && !log.contains(CLIENT_PASSWORD),
        "the log shows a password: {log}"
    );
}

#[test]
fn an_unknown_user_is_reported_until_brokers_know_it() {
    let Some(kafka) = services::secure_kafka("an_unknown_user_is_reported_until_brokers_know_it") else {
        return;
    };
    let topic = topic(kafka);
    let mut forebay = with_password(kafka, &topic, "SCRAM-SHA-512", "newcomer");
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, REFUSED, "reject user newcomer (SCRAM-SHA-512)");
    assert!(text(&refused, "last_error").contains("invalid credentials"), "{refused}");
    kafka.add_scram_user("newcomer", CLIENT_PASSWORD);
    await_end(&forebay, REFUSED);
    await_delivered(kafka, &forebay, &topic, 1);
}

#[test]
fn an_expired_token_is_reported_until_it_is_replaced() {
    let test = "an_expired_token_is_reported_until_it_is_replaced";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let old = token(CLIENT_USER, 1_700_000_000);
    let mut forebay = with_token(kafka, &topic, &old);
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, REFUSED, "no usable token");
    assert!(text(&refused, "last_error").contains("expired at 2023-11-14"), "{refused}");
    assert_on_all_surfaces(&forebay, &refused);
    support::tls::replace(&forebay.dir().join("token"), &token(CLIENT_USER, in_an_hour()));
    await_end(&forebay, REFUSED);
    await_delivered(kafka, &forebay, &topic, 1);
    assert!(!forebay.log().contains(&old), "the log shows the token");
}

#[test]
fn a_token_without_a_user_is_refused_by_the_broker() {
    let Some(kafka) = services::secure_kafka("a_token_without_a_user_is_refused_by_the_broker") else {
        return;
    };
    let topic = topic(kafka);
    let mut forebay = with_token(kafka, &topic, &token("", in_an_hour()));
    forebay.start();
    post(&forebay);
    let refused = await_detail(&forebay, REFUSED, "reject the token");
    assert!(text(&refused, "last_error").contains("invalid_token"), "{refused}");
}

#[test]
fn an_unsupported_mechanism_has_a_reason_of_its_own() {
    let Some(kafka) = services::secure_kafka("an_unsupported_mechanism_has_a_reason_of_its_own") else {
        return;
    };
    let topic = topic(kafka);
    // The listener between brokers supports PLAIN only.
    let mut forebay = with_password(kafka, &topic, "SCRAM-SHA-256", CLIENT_USER)
        .set("kafka.brokers", kafka.sasl_bootstrap())
        .set("kafka.security_protocol", "sasl_plaintext");
    forebay.start();
    let refused = await_detail(&forebay, REFUSED, "does not offer SCRAM-SHA-256");
    assert!(text(&refused, "last_error").contains("PLAIN"), "{refused}");
}
