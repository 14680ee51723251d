//! Records and topics that Kafka rejects. Only poison records become dead letters, the order is preserved, and
//! requeued records are delivered after the cause is fixed.

use std::sync::Arc;

use forebay::control;
use forebay::wal::Keys;
use forebay::wal::dead_letters::DeadLetterStore;
use serde_json::Value;

use crate::daemon::{LONG, await_drained, backlog_value, forebay, kind};
use crate::load::{Load, LoadOptions, SentCommands};
use support::admin::Admin;
use support::consume::{read_all, read_until};
use support::delivery_check::check;
use support::http::Client;
use support::kafka::{ClusterOptions, Resource};
use support::process::Forebay;
use support::{services, wait};

/// Sends numbered records for a few keys, with `filling(n)` bytes of filling each.
fn send(forebay: &Forebay, kind: &str, records: u64, filling: impl Fn(u64) -> usize) -> SentCommands {
    let mut sent = SentCommands::new();
    send_more(forebay, &mut sent, kind, records, filling);
    sent
}

/// Sends more records after those in `sent`.
fn send_more(
    forebay: &Forebay,
    sent: &mut SentCommands,
    kind: &str,
    records: u64,
    filling: impl Fn(u64) -> usize,
) {
    let mut http = forebay.http();
    for n in 0..records {
        let key = format!("k{}", n % 7);
        let of_key = sent.entry(key.clone()).or_default();
        let number = of_key.len();
        let body = format!(
            r#"{{"id":"{key}","key":"{key}","amount":{number},"filling":"{}"}}"#,
            "x".repeat(filling(n))
        );
        let answer = http.post(&format!("/v1/commands/{kind}"), &body).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        of_key.push(Some(answer.json()["id"].as_str().unwrap().to_owned()));
    }
}

fn status(http: &mut Client, id: &str) -> Value {
    http.get(&format!("/v1/commands/{id}")).unwrap().json()
}

fn is_rejected(n: u64) -> bool {
    n % 40 == 17
}

#[test]
fn only_rejected_records_become_dead_letters() {
    let Some(kafka) = services::kafka("only_rejected_records_become_dead_letters") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    // Far below `batch_size`, and below the size of a few good records together.
    admin.create_topic("orders.v1", 2, 1, &[("max.message.bytes", "3000")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 2).set("kafka.compression", "none");
    // Paused first, so that good and bad records wait together and form large batches.
    forebay.start();
    forebay.admin_http().post("/admin/drain/pause", "").unwrap();
    let mut sent = send(&forebay, "order.create", 400, |n| if is_rejected(n) { 5_000 } else { 200 });
    forebay.admin_http().post("/admin/drain/resume", "").unwrap();
    await_drained(&forebay);
    let rejected = (0..400).filter(|&n| is_rejected(n)).count() as u64;
    assert_eq!(backlog_value(&forebay, "dead"), rejected, "{}", forebay.log());
    let mut dead = Vec::new();
    let mut http = forebay.http();
    for n in (0..400).filter(|&n| is_rejected(n)) {
        let slot = &mut sent.get_mut(&format!("k{}", n % 7)).unwrap()[n as usize / 7];
        let id = slot.take().unwrap();
        let status = status(&mut http, &id);
        assert_eq!(status["state"], "dead", "{status}");
        assert!(status["reason"].as_str().unwrap().contains("too large"), "{status}");
        dead.push(id);
    }
    println!("poison: {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    // Requeued after the cause is fixed, they are delivered under their own ids.
    admin.set_topic_config("orders.v1", &[("max.message.bytes", "1000000")]);
    requeue_all(&forebay);
    await_drained(&forebay);
    let records = read_all(&cluster.bootstrap(), "orders.v1");
    for id in &dead {
        assert!(records.iter().any(|record| record.header("forebay-command-id") == Some(id)), "{id}");
        assert_eq!(status(&mut http, id)["state"], "sent");
    }
    assert_eq!(backlog_value(&forebay, "dead"), 0);
    assert!(forebay.terminate().success());
}

/// Sends the requests of `wal-tools dead requeue --all --apply` to a running daemon.
fn requeue_all(forebay: &Forebay) {
    let fs = Arc::new(forebay::wal::fs::RealFs);
    let dead = DeadLetterStore::open_read_only(fs, &forebay.wal_dir(), &Keys::default());
    let dead = dead.unwrap().0.expect("a dead-letter store");
    for lsns in dead.lsns().chunks(control::MAX_DEAD_LETTERS) {
        let request = control::Request::Requeue { lsns: lsns.to_vec() };
        match control::send_request(&forebay.wal_dir(), &request).unwrap() {
            control::ControlResponse::Done(done) => {
                assert!(done.iter().all(|one| one.requeued_as.is_some()), "{done:?}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_missing_topic_delays_no_other_topic() {
    let Some(kafka) = services::kafka("a_missing_topic_delays_no_other_topic") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single().set("auto.create.topics.enable", "false"));
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 2, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap())
        .set("drain.topic_fault_grace", "4s")
        .set("drain.workers", 1)
        .toml(&kind("order.create", "orders.v1"))
        .toml(&kind("lost.create", "missing.v1"));
    forebay.start();
    let lost = send(&forebay, "lost.create", 50, |_| 100);
    let good = send(&forebay, "order.create", 50, |_| 100);
    let first = read_until(&cluster.bootstrap(), "orders.v1", LONG, |records| records.len() >= 50);
    check(&good, &first);
    assert_eq!(backlog_value(&forebay, "dead"), 0, "no record is dead-lettered within the grace period");
    wait::until_true("the grace period is over", LONG, || backlog_value(&forebay, "dead") == 50);
    admin.create_topic("missing.v1", 2, 1, &[]);
    requeue_all(&forebay);
    let records = read_until(&cluster.bootstrap(), "missing.v1", LONG, |records| records.len() >= 50);
    check(&lost, &records);
    assert!(forebay.terminate().success());
}

#[test]
fn an_acl_restored_within_the_grace_period_loses_nothing() {
    let Some(kafka) = services::kafka("an_acl_restored_within_the_grace_period_loses_nothing") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single().acls());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 3, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.topic_fault_grace", "10m");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(300);
    cluster.deny("Write", Resource::Topic("orders.v1"));
    wait::until_true("the topic's records are parked", LONG, || backlog_value(&forebay, "backlog") > 500);
    load.await_accepted(300);
    cluster.undeny("Write", Resource::Topic("orders.v1"));
    let sent = load.stop();
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 0);
    println!("acl: {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    assert!(forebay.terminate().success());
}

#[test]
fn a_missing_topic_is_created_if_the_broker_allows() {
    let Some(kafka) = services::kafka("a_missing_topic_is_created_if_the_broker_allows") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let sent = send(&forebay, "order.create", 30, |_| 100);
    await_drained(&forebay);
    check(&sent, &read_all(&cluster.bootstrap(), "orders.v1"));
    // With the brokers' defaults, as for any other producer.
    assert_eq!(
        Admin::new(&cluster.bootstrap()).describe("orders.v1", "cleanup.policy"),
        (6, "delete".into())
    );
    assert!(forebay.terminate().success());
}

/// Only a record that waits for a topic is a reason to create it. A request about a topic is none.
#[test]
fn no_topic_is_created_as_a_side_effect() {
    let Some(kafka) = services::kafka("no_topic_is_created_as_a_side_effect") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    let mut forebay = forebay(&cluster.bootstrap())
        .toml(&kind("order.create", "orders.v1"))
        .toml(&kind("unused.create", "unused.v1"));
    forebay.start();
    send(&forebay, "order.create", 10, |_| 100);
    await_drained(&forebay);
    assert_eq!(admin.topics(), ["orders.v1"]);
    admin.delete_topic("orders.v1");
    // A restart in the other delivery mode, which sends more metadata requests.
    forebay.configure("drain.delivery", "exactly-once");
    forebay.restart();
    wait::until_true("the daemon takes over the positions", LONG, || {
        forebay.log().contains("drain.positions_claimed")
    });
    assert_eq!(admin.topics(), ["forebay.checkpoints"]);
    assert!(forebay.terminate().success());
}

/// Regression: every rejection replaced the worker's producer, which all other topics share.
#[test]
fn rejected_records_cost_other_topics_one_producer_at_most() {
    let Some(kafka) = services::kafka("rejected_records_cost_other_topics_one_producer_at_most") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 2, 1, &[]);
    admin.create_topic("small.v1", 2, 1, &[("max.message.bytes", "3000")]);
    admin.create_topic("compact.v1", 2, 1, &[("cleanup.policy", "compact")]);
    let mut forebay = forebay(&cluster.bootstrap())
        .set("drain.workers", 1)
        .set("kafka.compression", "none")
        .toml(&kind("order.create", "orders.v1"))
        .toml(&kind("small.create", "small.v1"))
        .toml(&kind("compact.create", "compact.v1"))
        .toml("[[kinds]]\nname = \"keyless.create\"\ntopic = \"compact.v1\"\n");
    // At this level every repetition is logged.
    forebay.configure("telemetry.log_level", "debug");
    forebay.start();
    let replaced = || forebay.log().matches("drain.producer_failed").count();
    let (mut small, mut orders) = (SentCommands::new(), SentCommands::new());
    for n in 0..20 {
        // Each rejected record is smaller than all rejected ones before it.
        send_more(&forebay, &mut small, "small.create", 14, |_| 100);
        send_rejected(&forebay, "small.create", 5_000 - n * 50);
        send_more(&forebay, &mut orders, "order.create", 14, |_| 100);
        wait::until_true("one more record is a dead letter", LONG, || {
            backlog_value(&forebay, "dead") as usize == n + 1
        });
    }
    assert!(replaced() <= 1, "{} producers for 20 rejections:\n{}", replaced(), forebay.log());
    let mut compact = SentCommands::new();
    for _ in 0..20 {
        (0..20).for_each(|_| send_rejected(&forebay, "keyless.create", 10));
        send_more(&forebay, &mut compact, "compact.create", 14, |_| 100);
    }
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 420);
    assert!(replaced() <= 2, "{} producers for 420 rejections", replaced());
    check(&small, &read_all(&cluster.bootstrap(), "small.v1"));
    check(&orders, &read_all(&cluster.bootstrap(), "orders.v1"));
    check(&compact, &read_all(&cluster.bootstrap(), "compact.v1"));
    assert!(forebay.terminate().success());
}

/// Sends a record that its topic rejects.
fn send_rejected(forebay: &Forebay, kind: &str, filling: usize) {
    let body = format!(r#"{{"key":"dead","filling":"{}"}}"#, "x".repeat(filling));
    let answer = forebay.http().post(&format!("/v1/commands/{kind}"), &body).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}
