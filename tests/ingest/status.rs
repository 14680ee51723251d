//! The status of a command, in every state, whatever the state of Kafka.

use std::collections::HashMap;

use crate::daemon::LONG;
use crate::requests::{
    NO_KAFKA, ORDERS, await_sent, batch, daemon, daemon_on, filled, id, ids, order, refusal, status,
};
use support::admin::{Admin, unique_name};
use support::consume::read_all;
use support::{services, wait};

#[test]
fn unknown_ids_and_ids_of_other_logs_are_404() {
    let (mut ours, mut theirs) = (daemon(), daemon());
    ours.start();
    theirs.start();
    let foreign = id(&theirs.http().post(ORDERS, &order("a")).unwrap());
    let http = &mut ours.http();
    let own = id(&http.post(ORDERS, &order("a")).unwrap());
    assert_eq!(status(http, &own.to_lowercase()).json()["id"], own.as_str());
    assert_eq!(refusal(&status(http, &foreign)), (404, "other_log".to_owned()));
    // An id of the same log without a command: the last character is random.
    let last = if own.ends_with('0') { "1" } else { "0" };
    let unknown = format!("{}{last}", &own[..own.len() - 1]);
    for wrong in [&unknown[..], "x", &own[1..], &format!("{own}0"), "%00", "..%2f..", &"U".repeat(40)] {
        assert_eq!(refusal(&status(http, wrong)), (404, "not_found".to_owned()), "{wrong}");
    }
}

#[test]
fn a_status_is_sent_only_with_the_kafka_offset() {
    let test = "a_status_is_sent_only_with_the_kafka_offset";
    let Some(kafka) = services::shared_kafka(test) else { return };
    let topic = unique_name("orders");
    Admin::new(&kafka).create_topic(&topic, 3, 1, &[]);
    let mut forebay = daemon_on(&kafka, &topic);
    forebay.start();
    let http = &mut forebay.http();
    let mut places = HashMap::new();
    for n in 0..400 {
        let id = id(&http.post(ORDERS, &order(&format!("o-{n}"))).unwrap());
        // At once, so that many are still in progress.
        let seen = status(http, &id).json();
        match seen["state"].as_str().unwrap() {
            "accepted" => assert_eq!((&seen["kafka"], &seen["sent_at"]), (&().into(), &().into()), "{seen}"),
            "sent" => assert!(seen["kafka"].is_object(), "{seen}"),
            other => panic!("{other}"),
        }
        places.insert(id, seen["kafka"].clone());
    }
    for (id, seen) in &mut places {
        let sent = await_sent(http, id);
        assert!(seen.is_null() || *seen == sent["kafka"], "{seen} became {sent}");
        assert!(sent["accepted_at"].as_str() <= sent["sent_at"].as_str(), "{sent}");
        *seen = sent["kafka"].clone();
    }
    let records = read_all(&kafka, &topic);
    assert_eq!(records.len(), places.len());
    for record in &records {
        let place = &places[record.header("forebay-command-id").unwrap()];
        let found =
            serde_json::json!({"topic": topic, "partition": record.partition, "offset": record.offset});
        assert_eq!(*place, found);
    }
    // The same after a kill, from the checkpoint; records after the checkpoint are sent again.
    forebay.kill();
    forebay.start();
    let http = &mut forebay.http();
    let records: Vec<_> = places.keys().map(|id| await_sent(http, id)["kafka"].clone()).collect();
    assert!(records.iter().all(|place| place["offset"].is_u64()));
}

#[test]
fn without_kafka_a_command_stays_accepted_across_a_restart() {
    let test = "without_kafka_a_command_stays_accepted_across_a_restart";
    let Some(kafka) = services::shared_kafka(test) else { return };
    let topic = unique_name("orders");
    Admin::new(&kafka).create_topic(&topic, 2, 1, &[]);
    let mut forebay = daemon_on(NO_KAFKA, &topic);
    forebay.start();
    let http = &mut forebay.http();
    let lines = [order("a"), order("b"), order("c")].join("\n");
    let answer = batch(http, &[("Prefer", "wait=1")], &lines);
    let waiting = ids(&answer);
    for restart in [false, true] {
        if restart {
            forebay.kill();
            forebay.start();
        }
        let http = &mut forebay.http();
        for (id, key) in waiting.iter().zip(["a", "b", "c"]) {
            let seen = status(http, id).json();
            assert_eq!((&seen["state"], &seen["key"]), (&"accepted".into(), &key.into()), "{seen}");
            assert!(seen["kafka"].is_null() && seen["finished_at"].is_null(), "{seen}");
        }
    }
    forebay.kill();
    forebay.configure("kafka.brokers", kafka);
    forebay.start();
    let http = &mut forebay.http();
    let answer = batch(http, &[("Prefer", "wait=60")], &lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let document = answer.json();
    let states: Vec<_> = document["commands"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["sent"; 3]);
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    for id in &waiting {
        let path = format!("/v1/commands/{id}");
        let seen = http.request("GET", &path, &[("Prefer", "wait=60")], b"").unwrap().json();
        assert_eq!(seen["state"], "sent", "{seen}");
    }
}

#[test]
fn a_record_rejected_by_kafka_is_dead_with_a_reason() {
    let Some(kafka) = services::shared_kafka("a_record_rejected_by_kafka_is_dead_with_a_reason") else {
        return;
    };
    let topic = unique_name("orders");
    Admin::new(&kafka).create_topic(&topic, 1, 1, &[("max.message.bytes", "2000")]);
    let mut forebay = daemon_on(&kafka, &topic).set("kafka.compression", "none");
    forebay.start();
    let http = &mut forebay.http();
    let large = filled(&order("a"), 5_000);
    let answer = http.request("POST", ORDERS, &[("Prefer", "wait=60")], large.as_bytes()).unwrap();
    let seen = answer.json();
    assert_eq!((answer.status, &seen["state"]), (200, &"dead".into()), "{seen}");
    assert!(seen["reason"].as_str().unwrap().contains("too large"), "{seen}");
    assert!(seen["kafka"].is_null() && seen["finished_at"].is_string(), "{seen}");
    forebay.kill();
    forebay.start();
    let again = wait::until("it is known again", LONG, || {
        Some(status(&mut forebay.http(), seen["id"].as_str().unwrap()).json())
            .filter(|now| now["state"] == "dead")
    });
    assert_eq!(again, seen);
}
