//! Problems about records that are not delivered.

use support::daemon::{LONG, backlog, backlog_value, forebay, kind};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{services, wait};

use super::list::{assert_on_all_surfaces, await_problem, entries, text};

/// An address without a listener.
const NO_KAFKA: &str = "127.0.0.1:9";

fn post(forebay: &Forebay, key: &str) -> u16 {
    forebay.http().post("/v1/commands/order.create", &format!(r#"{{"key":"{key}"}}"#)).unwrap().status
}

#[test]
fn an_unknown_topic_is_named_and_its_records_dead_lettered() {
    let test = "an_unknown_topic_is_named_and_its_records_dead_lettered";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single().set("auto.create.topics.enable", "false"));
    let mut forebay = forebay(&cluster.bootstrap())
        .toml(&kind("order.create", "no.such.topic"))
        .set("drain.topic_fault_grace", "25s")
        .set("alerts.interval", "200ms");
    forebay.start();
    assert!(entries(&forebay, "kafka_topic_unavailable").is_empty(), "no record needs it");
    assert_eq!(post(&forebay, "a"), 202);
    let refused = await_problem(&forebay, "kafka_topic_unavailable");
    assert!(text(&refused, "detail").contains("no.such.topic"), "{refused}");
    assert!(text(&refused, "last_error").contains("Unknown topic or partition"), "{refused}");
    assert_on_all_surfaces(&forebay, &refused);
    let parked = await_problem(&forebay, "records_parked");
    assert!(text(&parked, "detail").contains("no.such.topic"), "{parked}");
    let dead = await_problem(&forebay, "dead_letters");
    assert!(text(&dead, "detail").starts_with("dead letters stored: 1;"), "{dead}");
    assert_eq!(text(&dead, "last_error"), "topic: unknown");
    assert_on_all_surfaces(&forebay, &dead);
    // The dead letter and its time survive a restart.
    forebay.restart();
    assert_eq!(await_problem(&forebay, "dead_letters")["since"], dead["since"]);
}

#[test]
fn exceeded_thresholds_of_backlog_and_age_are_problems() {
    let mut forebay = forebay(NO_KAFKA)
        .toml(&kind("order.create", "orders.v1"))
        .set("alerts.interval", "100ms")
        .set("alerts.backlog_threshold", 3)
        .set("alerts.oldest_age_threshold", "1s")
        .set("wal.max_backlog_size", "1MiB");
    forebay.start();
    (0..2).for_each(|_| assert_eq!(post(&forebay, "a"), 202));
    let old = await_problem(&forebay, "oldest_age_high");
    assert!(text(&old, "detail").contains("1s"), "{old}");
    assert!(entries(&forebay, "backlog_high").is_empty(), "two records are below the threshold of three");
    assert_eq!(post(&forebay, "a"), 202);
    assert_on_all_surfaces(&forebay, &await_problem(&forebay, "backlog_high"));
    let filling = format!(r#"{{"key":"a","x":"{}"}}"#, "y".repeat(100_000));
    let mut http = forebay.http();
    wait::until_true("the backlog is full", LONG, || {
        http.post("/v1/commands/order.create", &filling).unwrap().status == 503
    });
    let full = await_problem(&forebay, "backlog_full");
    assert_on_all_surfaces(&forebay, &full);
    await_problem(&forebay, "kafka_unreachable");
    let document = backlog(&forebay);
    assert_eq!(
        document["problems"][0]["code"], "backlog_full",
        "the most important problem comes first: {document}"
    );
    assert!(text(&document, "last_error").contains("Connection refused"), "{document}");
    assert!(backlog_value(&forebay, "backlog") > 3);
}
