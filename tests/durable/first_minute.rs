//! The first minute of a new user, without configuration, and the same with a real broker.

use crate::daemon::{LONG, await_drained, embedded_broker, forebay};
use support::admin::Admin;
use support::consume::{read_all, read_until};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{services, wait};

fn accept_order(forebay: &Forebay, id: &str) -> String {
    let answer = forebay
        .http()
        .request(
            "POST",
            "/v1/commands/order.create",
            &[],
            format!(r#"{{"id":"{id}","amount":12}}"#).as_bytes(),
        )
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let document = answer.json();
    assert_eq!(document["state"], "accepted");
    assert_eq!(document["durability"], "fsync");
    let id = document["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(&format!("/v1/commands/{id}")[..]));
    format!("/v1/commands/{id}")
}

fn await_sent(forebay: &Forebay, location: &str) -> serde_json::Value {
    wait::until("the command is sent", LONG, || {
        let status = forebay.http().get(location).ok()?;
        assert_eq!(status.status, 200, "{}", status.text());
        Some(status.json()).filter(|status| status["state"] == "sent")
    })
}

#[test]
fn embedded_mode_delivers_again_after_kill_9() {
    let mut forebay = Forebay::new(env!("CARGO_BIN_EXE_forebay"));
    forebay.start();
    let location = accept_order(&forebay, "o-1");
    let status = await_sent(&forebay, &location);
    assert_eq!(status["kafka"]["topic"], "orders.v1");
    assert_eq!((&status["kind"], &status["key"]), (&"order.create".into(), &"o-1".into()));
    let records = read_until(&embedded_broker(&forebay), "orders.v1", LONG, |records| !records.is_empty());
    assert_eq!(records[0].text(), r#"{"id":"o-1","amount":12}"#);
    assert_eq!(records[0].key.as_deref(), Some(&b"o-1"[..]));
    assert_eq!(records[0].header("forebay-kind"), Some("order.create"));
    assert_eq!(records[0].header("content-type"), Some("application/json"));
    assert!(location.ends_with(records[0].header("forebay-command-id").unwrap()));
    forebay.kill();
    forebay.start();
    accept_order(&forebay, "o-2");
    let records = read_until(&embedded_broker(&forebay), "orders.v1", LONG, |records| records.len() >= 2);
    let ids: Vec<_> = records.iter().map(|record| record.key.clone().unwrap()).collect();
    assert!(
        ids.contains(&b"o-1".to_vec()),
        "the embedded topic was lost with the process, and its records were delivered again"
    );
    await_sent(&forebay, &location);
    assert!(forebay.terminate().success());
}

#[test]
fn a_status_names_the_position_on_a_real_broker() {
    let Some(kafka) = services::kafka("a_status_names_the_position_on_a_real_broker") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 3, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let location = accept_order(&forebay, "o-1");
    let status = await_sent(&forebay, &location);
    let records = read_all(&cluster.bootstrap(), "orders.v1");
    assert_eq!(records.len(), 1);
    assert_eq!(status["kafka"]["partition"], records[0].partition);
    assert_eq!(status["kafka"]["offset"], records[0].offset);
    await_drained(&forebay);
    // The status is also known after a kill while Kafka is unavailable, and nothing is sent twice, because a
    // checkpoint records the delivery.
    wait::until_true("a checkpoint records the delivery", LONG, || {
        let stats = crate::daemon::backlog(&forebay);
        stats["checkpoint_watermark_lsn"].as_u64().is_none_or(|lsn| lsn >= 2)
    });
    forebay.restart();
    cluster.broker(1).kill();
    let again = forebay.http().get(&location).unwrap().json();
    assert_eq!(again["kafka"], status["kafka"]);
    let waiting = accept_order(&forebay, "o-2");
    assert_eq!(forebay.http().get(&waiting).unwrap().json()["state"], "accepted");
    cluster.broker(1).start();
    await_sent(&forebay, &waiting);
    assert_eq!(read_all(&cluster.bootstrap(), "orders.v1").len(), 2);
}

#[test]
fn a_client_that_prefers_to_wait_gets_the_final_status() {
    let Some(kafka) = services::kafka("a_client_that_prefers_to_wait_gets_the_final_status") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 1, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let wait = |forebay: &Forebay, seconds: &str| {
        let body = br#"{"id":"o-1","amount":1}"#;
        forebay.http().request("POST", "/v1/commands/order.create", &[("Prefer", seconds)], body).unwrap()
    };
    let answer = wait(&forebay, "wait=30");
    assert_eq!((answer.status, answer.json()["state"].clone()), (200, "sent".into()), "{}", answer.text());
    cluster.broker(1).kill();
    let answer = wait(&forebay, "wait=1");
    assert_eq!((answer.status, answer.json()["state"].clone()), (202, "accepted".into()));
}
