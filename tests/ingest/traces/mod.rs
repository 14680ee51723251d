//! One trace from the request to the database, as received by an OTLP collector, and collectors that fail.

mod collector;
mod span_tree;

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use crate::daemon::{LONG, metric};
use crate::requests::{NO_KAFKA, ORDERS, await_sent, daemon, id, order};
use collector::{Collector, CollectorBehavior};
use span_tree::{SpanTree, hex};
use support::admin::Admin;
use support::consume::read_until;
use support::http::{Client, Response};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{daemon as processes, services, wait};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";
const PERSON: &str =
    r#"{"name":"ada","email":"ada@example.org","phone":"+49 170 1234567","password":"correct horse"}"#;
const EXPORTED: &str = "forebay_telemetry_spans_exported_total";
const FAILED: &str = "forebay_telemetry_spans_dropped_total{reason=\"export_failed\"}";
/// Spans of an order, which ends at Kafka.
const OF_ORDER: [&str; 5] =
    ["POST /v1/commands/{kind}", "commit wait", "flush", "queue", "produce orders.v1"];
/// Spans of a registration.
const OF_USER: [&str; 7] = [
    "POST /v1/users",
    "commit wait",
    "flush",
    "queue",
    "produce user.commands.v1",
    "apply user.commands.v1",
    "transaction",
];

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CLIENT_SPAN}-{flags}")
}

fn post(http: &mut Client, path: &str, traceparent: Option<&str>, body: &str) -> Response {
    let headers: Vec<_> =
        traceparent.map(|value| ("traceparent", value)).into_iter().chain([("Prefer", "wait=30")]).collect();
    http.request("POST", path, &headers, body.as_bytes()).unwrap()
}

/// Registers a user in a sampled trace. Returns the trace and the command's id. On a busy machine the checks may exceed
/// their timeout, so each attempt has its own trace.
fn register(forebay: &Forebay) -> (String, String) {
    let mut attempts = 0_u128;
    wait::until("a registration is applied", LONG, || {
        attempts += 1;
        let trace = format!("{attempts:032x}");
        let answer = post(&mut forebay.http(), "/v1/users", Some(&parent(&trace, "01")), PERSON);
        assert!([201, 503].contains(&answer.status), "{}", answer.text());
        let command = answer.json()["id"].as_str().map(str::to_owned);
        (answer.status == 201).then(|| (trace, command.expect("an id")))
    })
}

/// A daemon that exports to this collector, with this sampling ratio.
fn traced(forebay: Forebay, endpoint: &str, ratio: f64) -> Forebay {
    forebay.set("telemetry.otlp_endpoint", endpoint).set("telemetry.sample_ratio", ratio)
}

/// Waits for the spans of one trace with all of these names.
fn await_trace(collector: &Collector, trace: &str, names: &[&str]) -> SpanTree {
    let of = |spans: &[Span]| -> Vec<Span> {
        spans.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect()
    };
    let complete = |spans: &[Span]| {
        let there = of(spans);
        names.iter().all(|name| there.iter().any(|span| span.name == *name))
    };
    SpanTree::new(of(&collector.spans(&format!("{names:?} of {trace}"), complete)), names)
}

/// Checks the shape of a registration's trace, on any servers.
fn check_registration(tree: &SpanTree, system: &str, command: &str) {
    let [server, wait, flush, queue, produce, apply, transaction] = OF_USER;
    assert_eq!(tree.parent_of(server), CLIENT_SPAN);
    for step in [wait, flush, queue, produce] {
        tree.assert_child(step, server);
    }
    tree.assert_child(apply, produce);
    tree.assert_child(transaction, apply);
    for (earlier, later) in
        [(server, wait), (wait, flush), (flush, produce), (queue, produce), (produce, apply)]
    {
        tree.assert_starts_before(earlier, later);
    }
    assert_eq!(tree.end_of(wait), tree.start_of(flush));
    assert_eq!(tree.end_of(queue), tree.start_of(produce));
    tree.assert_within(transaction, apply);
    tree.assert_within(flush, server);
    for (span, key, value) in [
        (server, "http.request.method", "POST"),
        (server, "http.route", "/v1/users"),
        (server, "http.response.status_code", "201"),
        (server, "forebay.command.id", command),
        (flush, "forebay.flush.records", "1"),
        (produce, "messaging.system", "kafka"),
        (produce, "messaging.destination.name", "user.commands.v1"),
        (produce, "messaging.message.id", command),
        (apply, "messaging.message.id", command),
        (apply, "forebay.outcome", "applied"),
        (transaction, "db.system.name", system),
        (transaction, "db.operation.batch.size", "1"),
    ] {
        assert_eq!(tree.attribute(span, key).as_deref(), Some(value), "{span}: {key}");
    }
    // No personal data.
    let all = tree.dump();
    for personal in ["ada", "example.org", "1701234567", "correct horse"] {
        assert!(!all.contains(personal), "{personal} in {all}");
    }
}

#[test]
fn a_registration_is_one_trace_from_request_to_database() {
    let collector = Collector::start(CollectorBehavior::Healthy);
    let mut forebay = traced(daemon(), &collector.endpoint(), 0.0).set("telemetry.log_level", "debug");
    forebay.start();
    let (trace, command) = register(&forebay);
    check_registration(&await_trace(&collector, &trace, &OF_USER), "sqlite", &command);
    // The spans are counted after the collector's response.
    wait::until_true("the spans are counted", LONG, || metric(&forebay, EXPORTED) >= 7.0);
    // The request's log line contains the trace and the command.
    let log = forebay.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_the_requests = |line: &Value| line["http.route"] == "/v1/users" && line["http.status"] == 201;
    let line = lines.into_iter().find(is_the_requests).expect("the request's line");
    assert_eq!((&line["trace_id"], &line["command_id"]), (&trace.into(), &command.into()), "{line}");
    assert!(forebay.terminate().success());
}

/// The consumer is a separate process with its own export.
#[test]
fn a_trace_continues_through_apache_kafka_to_mariadb() {
    let test = "a_trace_continues_through_apache_kafka_to_mariadb";
    let (Some(kafka), Some(url)) = (services::kafka(test), services::mariadb(test)) else { return };
    let kafka = kafka.start(ClusterOptions::single());
    let topics = ["user.commands.v1", "user.retry.v1", "user.dead.v1"];
    topics.iter().for_each(|topic| Admin::new(&kafka.bootstrap()).create_topic(topic, 2, 1, &[]));
    processes::migrated(&url, &[]);
    let collector = Collector::start(CollectorBehavior::Healthy);
    let on_parts = |forebay: Forebay| {
        let forebay = traced(forebay, &collector.endpoint(), 0.0);
        forebay.set("kafka.brokers", kafka.bootstrap()).set("database.url", url.as_str())
    };
    let mut forebay = on_parts(daemon()).set("consumer.enabled", false);
    let mut consumer = on_parts(Forebay::new(processes::binary()).args(&["consume"]));
    forebay.start();
    consumer.start();
    let (trace, command) = register(&forebay);
    let tree = await_trace(&collector, &trace, &OF_USER);
    check_registration(&tree, "mysql", &command);
    let records = read_until(&kafka.bootstrap(), "user.commands.v1", LONG, |records| !records.is_empty());
    let expected = format!("00-{trace}-{}-01", tree.id_of("produce user.commands.v1"));
    assert_eq!(records[0].header("traceparent"), Some(&expected[..]));
    assert!(consumer.terminate().success() && forebay.terminate().success());
    // With exactly-once delivery, a record is confirmed when its transaction is committed.
    Admin::new(&kafka.bootstrap()).create_topic("orders.v1", 2, 1, &[]);
    let mut once = on_parts(daemon()).set("consumer.enabled", false).set("drain.delivery", "exactly-once");
    once.start();
    assert_eq!(post(&mut once.http(), ORDERS, Some(&parent(TRACE, "01")), &order("a")).status, 200);
    let tree = await_trace(&collector, TRACE, &OF_ORDER);
    tree.assert_child("produce orders.v1", OF_ORDER[0]);
    assert!(once.terminate().success());
}

#[test]
fn the_clients_sampling_decision_takes_precedence_over_the_ratio() {
    let other = TRACE.replace('4', "5");
    for (ratio, count) in [(0.0, 1), (1.0, 2)] {
        let collector = Collector::start(CollectorBehavior::Healthy);
        let mut forebay = traced(daemon(), &collector.endpoint(), ratio);
        forebay.start();
        let http = &mut forebay.http();
        for (traceparent, key) in
            [(Some(parent(&other, "00")), "a"), (None, "b"), (Some(parent(TRACE, "01")), "c")]
        {
            assert_eq!(post(http, ORDERS, traceparent.as_deref(), &order(key)).status, 200);
        }
        await_trace(&collector, TRACE, &OF_ORDER);
        wait::until_true("spans of all sampled requests are exported", LONG, || {
            metric(&forebay, EXPORTED) >= (OF_ORDER.len() * count) as f64
        });
        // The last spans are exported at the stop, including any of requests that must not be sampled.
        assert!(forebay.terminate().success());
        let roots = |spans: &[Span]| -> Vec<Span> {
            spans.iter().filter(|span| span.name.starts_with("POST")).cloned().collect()
        };
        let all = collector.spans("all requests", |spans| roots(spans).len() >= count);
        let roots = roots(&all);
        assert_eq!(roots.len(), count, "{roots:#?}");
        assert!(all.iter().all(|span| hex(&span.trace_id) != other), "sampled against the client's will");
        if let Some(own) = roots.iter().find(|span| hex(&span.trace_id) != TRACE) {
            assert!(own.parent_span_id.is_empty(), "{own:?}");
            await_trace(&collector, &hex(&own.trace_id), &OF_ORDER);
        }
    }
}

#[test]
fn a_record_sent_after_a_restart_keeps_its_trace() {
    let collector = Collector::start(CollectorBehavior::Healthy);
    let mut forebay = traced(daemon(), &collector.endpoint(), 0.0).set("kafka.brokers", NO_KAFKA);
    forebay.start();
    let headers = [("traceparent", &parent(TRACE, "01")[..])];
    let answer = forebay.http().request("POST", ORDERS, &headers, order("a").as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    await_trace(&collector, TRACE, &OF_ORDER[..3]);
    forebay.kill();
    forebay.configure("kafka.brokers", "embedded");
    forebay.start();
    await_sent(&mut forebay.http(), &id(&answer));
    let tree = await_trace(&collector, TRACE, &OF_ORDER);
    for step in &OF_ORDER[1..] {
        tree.assert_child(step, OF_ORDER[0]);
    }
    tree.assert_starts_before("queue", "produce orders.v1");
    assert!(forebay.terminate().success());
}

/// Sends some sampled orders; all must be accepted.
fn send_orders(forebay: &Forebay) {
    let http = &mut forebay.http();
    for n in 0..20 {
        let answer = http.post(ORDERS, &order(&n.to_string())).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// Asserts that the collector's failure is counted, and logged once.
fn check_failure(endpoint: &str, mut failed: impl FnMut()) {
    let mut forebay = traced(daemon(), endpoint, 1.0);
    forebay.start();
    for _ in 0..2 {
        let before = metric(&forebay, FAILED);
        send_orders(&forebay);
        failed();
        wait::until_true("dropped spans are counted", LONG, || metric(&forebay, FAILED) > before);
    }
    assert!(forebay.terminate().success());
    let log = forebay.log();
    assert_eq!(log.matches("telemetry.export_failed").count(), 1, "{log}");
    assert_eq!(log.matches("telemetry.export_resumed").count(), 0, "{log}");
}

#[test]
fn a_failing_collector_is_counted_and_logged_once() {
    check_failure(&format!("http://{NO_KAFKA}"), || {});
    let broken = Collector::start(CollectorBehavior::Failing);
    let mut asked = 0;
    check_failure(&broken.endpoint(), || {
        asked += 1;
        broken.await_asked(asked);
    });
}

#[test]
fn a_hanging_collector_delays_neither_requests_nor_the_stop() {
    let collector = Collector::start(CollectorBehavior::Hanging);
    let mut forebay = traced(daemon(), &collector.endpoint(), 1.0);
    forebay.start();
    send_orders(&forebay);
    collector.await_asked(1);
    // The export hangs; everything else continues.
    send_orders(&forebay);
    assert!(forebay.terminate().success());
    // The stop did not wait for the export.
    let log = forebay.log();
    assert!(log.contains("telemetry.spans_left"), "{log}");
}

#[test]
fn a_slow_collector_gets_every_span() {
    let collector = Collector::start(CollectorBehavior::Slow(Duration::from_millis(300)));
    let mut forebay = traced(daemon(), &collector.endpoint(), 1.0);
    forebay.start();
    send_orders(&forebay);
    let requests = |spans: &[Span]| spans.iter().filter(|span| span.name == OF_ORDER[0]).count();
    let sent = |spans: &[Span]| spans.iter().filter(|span| span.name == OF_ORDER[4]).count();
    collector.spans("20 orders", |spans| requests(spans) == 20 && sent(spans) == 20);
    // The daemon reports it, and has dropped no span.
    wait::until_true("all spans count as exported or dropped", LONG, || {
        metric(&forebay, EXPORTED) + metric(&forebay, FAILED) >= 100.0
    });
    assert_eq!(metric(&forebay, FAILED), 0.0);
    assert!(forebay.terminate().success());
}
