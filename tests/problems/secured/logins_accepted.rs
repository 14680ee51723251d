//! Every login mechanism, from a request to the topic and back.

use std::fs;
use std::sync::Once;

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use support::admin::{Admin, unique_name};
use support::kafka::{CLIENT_USER, Kafka, Listener};
use support::process::Forebay;
use support::services;
use support::wait;

use super::super::list::is_up;
use super::{await_delivered, daemon_over, post, topic, with_certificate, with_password};

/// An unsecured token (RFC 7515, appendix A.5), which Kafka's default validator accepts.
pub fn token(user: &str, expires: u64) -> String {
    let part = |json: serde_json::Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let issued = expires.saturating_sub(7_200);
    format!("{}.{}.", part(json!({"alg": "none"})), part(json!({"sub": user, "iat": issued, "exp": expires})))
}

/// One hour from now, in seconds since 1970.
pub fn in_an_hour() -> u64 {
    forebay::units::Timestamp::now().0 / 1000 + 3_600
}

/// A daemon that logs in with the token in its file `token`.
pub fn with_token(kafka: &Kafka, topic: &str, token: &str) -> Forebay {
    let forebay = daemon_over(kafka, Listener::Sasl, topic);
    let path = forebay.dir().join("token");
    fs::write(&path, format!("{token}\n")).unwrap();
    forebay
        .set("kafka.sasl_mechanism", "OAUTHBEARER")
        .set("kafka.sasl_token_file", path.display().to_string())
}

/// Creates the topics of user commands, because an admin client cannot use a token.
pub fn user_topics(kafka: &Kafka) {
    static CREATED: Once = Once::new();
    let create = |admin: &Admin, name: &str| admin.create_topic(name, 1, 1, &[]);
    CREATED.call_once(|| {
        let admin = Admin::new(&kafka.bootstrap());
        ["user.commands.v1", "user.retry.v1", "user.dead.v1"].iter().for_each(|name| create(&admin, name));
    });
}

/// Registers a user and waits until the consumer has applied the command. Consumers of other tests also apply it.
pub fn await_applied(forebay: &Forebay, name: &str, phone: &str) {
    let user = json!({
        "name": name,
        "email": format!("{name}@example.org"),
        "phone": phone,
        "password": "correct horse battery",
    });
    let headers = [("Content-Type", "application/json"), ("Prefer", "wait=60")];
    let answer = forebay.http().request("POST", "/v1/users", &headers, user.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}\n{}", answer.text(), forebay.log());
}

/// Adds the user service, whose consumer logs in as a member of this group.
pub fn serving_users(forebay: Forebay, group: &str) -> Forebay {
    let database = forebay.dir().join("users.sqlite").display().to_string();
    forebay
        .set("users.password_cost", 4)
        .set("database.url", format!("sqlite://{database}"))
        .set("consumer.enabled", true)
        .set("consumer.group", group)
}

fn assert_delivers(kafka: &Kafka, mut forebay: Forebay, topic: &str) {
    forebay.start();
    post(&forebay);
    await_delivered(kafka, &forebay, topic, 1);
    assert!(is_up(&forebay, "kafka"), "{}", forebay.log());
    assert!(forebay.terminate().success(), "{}", forebay.log());
}

#[test]
fn every_mechanism_delivers() {
    let Some(kafka) = services::secure_kafka("every_mechanism_delivers") else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let topic = topic(kafka);
        assert_delivers(kafka, with_password(kafka, &topic, mechanism, CLIENT_USER), &topic);
    }
    let topic = topic(kafka);
    assert_delivers(kafka, with_certificate(kafka, &topic, "client"), &topic);
}

#[test]
fn a_token_serves_delivery_and_the_consumer() {
    let Some(kafka) = services::secure_kafka("a_token_serves_delivery_and_the_consumer") else { return };
    let topic = topic(kafka);
    user_topics(kafka);
    let mut forebay =
        serving_users(with_token(kafka, &topic, &token(CLIENT_USER, in_an_hour())), &unique_name("group"));
    forebay.start();
    post(&forebay);
    await_applied(&forebay, "ada", "+4930123456");
    await_delivered(kafka, &forebay, &topic, 1);
    wait::until_true("Kafka is available", support::daemon::LONG, || is_up(&forebay, "kafka"));
    let log = forebay.log();
    assert!(!log.contains(&token(CLIENT_USER, in_an_hour())[..40]), "the log shows the token: {log}");
}
