//! Records that Kafka rejects inside transactions.

use std::collections::BTreeMap;

use crate::daemon::{LONG, await_drained, backlog_value, kind, metric};
use crate::load::SentCommands;
use crate::{assert_once, forebay};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::{ClusterOptions, Resource};
use support::process::Forebay;
use support::{services, wait};

/// Sends numbered records for a few keys. `filling(n)` is the number of bytes to add to record `n`.
fn send(forebay: &Forebay, kind: &str, records: u64, filling: impl Fn(u64) -> usize) -> SentCommands {
    let mut sent = SentCommands::new();
    let mut http = forebay.http();
    for n in 0..records {
        let key = format!("k{}", n % 7);
        let of_key = sent.entry(key.clone()).or_default();
        let (number, filling) = (of_key.len(), "x".repeat(filling(n)));
        let body = format!(r#"{{"id":"{key}","key":"{key}","amount":{number},"filling":"{filling}"}}"#);
        let answer = http.post(&format!("/v1/commands/{kind}"), &body).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        of_key.push(Some(answer.json()["id"].as_str().unwrap().to_owned()));
    }
    sent
}

#[test]
fn only_rejected_records_become_dead_letters_and_none_is_repeated() {
    let test = "only_rejected_records_become_dead_letters_and_none_is_repeated";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    // Far below `batch_size`, and below the total size of a few valid records.
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 2, 1, &[("max.message.bytes", "3000")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.workers", 2).set("kafka.compression", "none");
    forebay.start();
    // The drain is paused, so that valid and poison records wait together and form large batches.
    forebay.admin_http().post("/admin/drain/pause", "").unwrap();
    let is_culprit = |n: u64| n % 40 == 17;
    let mut sent = send(&forebay, "order.create", 400, |n| if is_culprit(n) { 5_000 } else { 200 });
    forebay.admin_http().post("/admin/drain/resume", "").unwrap();
    let mut http = forebay.http();
    let mut dead = Vec::new();
    for n in (0..400).filter(|&n| is_culprit(n)) {
        dead.push(sent.get_mut(&format!("k{}", n % 7)).unwrap()[n as usize / 7].take().unwrap());
    }
    assert_once("poison", &forebay, &cluster.bootstrap(), &sent);
    assert_eq!(backlog_value(&forebay, "dead"), dead.len() as u64);
    for id in dead {
        let status = http.get(&format!("/v1/commands/{id}")).unwrap().json();
        assert_eq!(status["state"], "dead", "{status}");
        assert!(status["reason"].as_str().unwrap().contains("too large"), "{status}");
    }
    // A delivered record's status contains its location, as reported in the committed transaction.
    let id = sent["k0"].iter().flatten().next().unwrap();
    let status = http.get(&format!("/v1/commands/{id}")).unwrap().json();
    let found = read_all(&cluster.bootstrap(), "orders.v1");
    let record = found.iter().find(|record| record.header("forebay-command-id") == Some(id)).unwrap();
    assert_eq!(status["kafka"]["partition"], record.partition, "{status}");
    assert_eq!(status["kafka"]["offset"], record.offset, "{status}");
    assert!(forebay.terminate().success());
}

/// Regression: each rejection aborted a transaction. Ten thousand of them took minutes, in which the worker did
/// nothing else.
#[test]
fn keyless_records_of_a_compacted_topic_abort_few_transactions() {
    let test = "keyless_records_of_a_compacted_topic_abort_few_transactions";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 2, 1, &[]);
    admin.create_topic("compact.v1", 2, 1, &[("cleanup.policy", "compact")]);
    let mut forebay = forebay(&cluster.bootstrap())
        .set("drain.workers", 1)
        .toml(&kind("order.create", "orders.v1"))
        .toml(&kind("compact.create", "compact.v1"))
        .toml("[[kinds]]\nname = \"keyless.create\"\ntopic = \"compact.v1\"\n");
    // At this level every retry is logged.
    forebay.configure("telemetry.log_level", "debug");
    forebay.start();
    forebay.admin_http().post("/admin/drain/pause", "").unwrap();
    let batch = |lines: usize| {
        let headers = [("Content-Type", "application/x-ndjson")];
        let body = "{\"amount\":1}\n".repeat(lines);
        let answer = forebay.http().request("POST", "/v1/commands/keyless.create", &headers, body.as_bytes());
        assert_eq!(answer.unwrap().status, 202);
    };
    batch(1_000);
    let orders = send(&forebay, "order.create", 70, |_| 100);
    batch(1_000);
    let compact = send(&forebay, "compact.create", 70, |_| 100);
    forebay.admin_http().post("/admin/drain/resume", "").unwrap();
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 2_000);
    let aborted = forebay.log().matches("drain.transaction_failed").count();
    assert!(aborted <= 20, "{aborted} transactions aborted for 2,000 records");
    assert_once("orders", &forebay, &cluster.bootstrap(), &orders);
    check(&compact, &read_all(&cluster.bootstrap(), "compact.v1"));
    // The operator fixes the topic. Records requeued after that are delivered.
    admin.set_topic_config("compact.v1", &[("cleanup.policy", "delete")]);
    batch(1);
    await_drained(&forebay);
    assert_eq!(backlog_value(&forebay, "dead"), 2_000);
    assert!(forebay.terminate().success());
}

#[test]
fn a_forbidden_topic_holds_its_lanes_and_another_topic_passes() {
    let Some(kafka) = services::kafka("a_forbidden_topic_holds_its_lanes_and_another_topic_passes") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single().acls());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 3, 1, &[]);
    admin.create_topic("closed.v1", 3, 1, &[]);
    cluster.deny("Write", Resource::Topic("closed.v1"));
    let mut forebay = forebay(&cluster.bootstrap())
        .set("drain.topic_fault_grace", "10m")
        .toml(&kind("order.create", "orders.v1"))
        .toml(&kind("closed.create", "closed.v1"));
    forebay.start();
    let one = |kind: &str, key: &str| {
        let body = format!(r#"{{"id":"{key}","key":"{key}","amount":0}}"#);
        assert_eq!(forebay.http().post(&format!("/v1/commands/{kind}"), &body).unwrap().status, 202);
    };
    one("closed.create", "k0");
    let good = send(&forebay, "order.create", 70, |_| 100);
    // The keys are the same: records in the lane of k0 wait behind the record of the closed topic.
    wait::until_true("other lanes pass", LONG, || backlog_value(&forebay, "backlog") == 11);
    assert_eq!(backlog_value(&forebay, "dead"), 0);
    // They are released from time to time for a trial, and held again.
    let parked = || metric(&forebay, "forebay_drain_parked{topic=\"closed.v1\"}");
    wait::until_true("the gauge shows the held records", LONG, || parked() == 11.0);
    cluster.undeny("Write", Resource::Topic("closed.v1"));
    assert_once("forbidden topic", &forebay, &cluster.bootstrap(), &good);
    assert_eq!(read_all(&cluster.bootstrap(), "closed.v1").len(), 1);
    assert!(forebay.terminate().success());
}

/// Found by a storm of an hour, as one record of a million. A lane was held because of a later record when the
/// transaction with its earlier ones was aborted. The earlier ones were skipped, and in the end the positions passed
/// them.
#[test]
fn aborted_records_precede_the_record_that_holds_their_lane() {
    let Some(kafka) = services::kafka("aborted_records_precede_the_record_that_holds_their_lane") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single().set("auto.create.topics.enable", "false"));
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 3, 1, &[]);
    admin.create_topic("small.v1", 3, 1, &[("max.message.bytes", "3000")]);
    let mut forebay = forebay(&cluster.bootstrap())
        .set("drain.topic_fault_grace", "10m")
        .set("drain.workers", 1)
        .set("kafka.compression", "none");
    for name in ["orders", "late", "small"] {
        forebay = forebay.toml(&kind(&format!("{name}.create"), &format!("{name}.v1")));
    }
    forebay.start();
    let one = |kind: &str, key: &str, filling: usize| {
        let filling = "x".repeat(filling);
        let body = format!(r#"{{"id":"{key}","key":"{key}","amount":0,"filling":"{filling}"}}"#);
        let answer = forebay.http().post(&format!("/v1/commands/{kind}"), &body).unwrap();
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    // Each round has a record that makes its transaction fail. In the middle, each key is sent to a topic that does
    // not exist yet.
    forebay.admin_http().post("/admin/drain/pause", "").unwrap();
    let mut good = BTreeMap::<String, Vec<String>>::new();
    for round in 0..20 {
        for key in (1..7).map(|key| format!("k{key}")) {
            let id = one("orders.create", &key, 0);
            good.entry(key.clone()).or_default().push(id);
            if round == 10 {
                one("late.create", &key, 0);
            }
        }
        one("small.create", "culprit", 5_000);
    }
    forebay.admin_http().post("/admin/drain/resume", "").unwrap();
    wait::until_true("a rejected record is a dead letter", LONG, || backlog_value(&forebay, "dead") > 0);
    admin.create_topic("late.v1", 3, 1, &[]);
    await_drained(&forebay);
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for record in read_all(&cluster.bootstrap(), "orders.v1") {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        found.entry(key).or_default().push(record.header("forebay-command-id").unwrap().to_owned());
    }
    assert_eq!(found, good);
    assert_eq!(read_all(&cluster.bootstrap(), "late.v1").len(), 6);
    assert!(forebay.terminate().success());
}
