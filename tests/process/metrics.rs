//! Metrics of a daemon at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::LONG;
use support::process::Forebay;
use support::services::available;
use support::{daemon, wait};

/// Maximum number of series of an idle daemon.
const MAX_SERIES: usize = 500;
/// Warnings of promtool about names that are frozen. There are none.
const FROZEN: [&str; 0] = [];

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

fn scrape(forebay: &Forebay) -> String {
    forebay.admin_http().get("/metrics").unwrap().text()
}

/// A scrape of an embedded daemon that has just checked its database and its store.
fn idle() -> (Forebay, String) {
    let mut forebay = forebay();
    forebay.start();
    // Requests with a wait have series of their own.
    let waits = forebay.admin_http().request("GET", "/healthz", &[("Prefer", "wait=1")], &[]).unwrap();
    assert_eq!(waits.status, 200);
    let text = wait::until("the first request, statement and step are counted", LONG, || {
        let text = scrape(&forebay);
        let begun = ["http_request_duration_seconds", "db_query_seconds", "forebay_step_seconds"];
        begun.iter().all(|name| text.contains(&format!("\n# TYPE {name} histogram\n"))).then_some(text)
    });
    (forebay, text)
}

/// Names of the metrics in the tables of docs/operations.md.
fn documented() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split(['`', '{']).next().unwrap().to_owned()).collect()
}

/// Series and their values; labels as in the exposition.
fn series(text: &str) -> BTreeMap<&str, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name, n.parse().unwrap())).collect()
}

#[test]
fn an_idle_daemon_shows_every_documented_metric_in_few_series() {
    let (_forebay, text) = idle();
    let documented = documented();
    assert!(documented.len() > 50, "{documented:?}");
    for name in documented {
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.len() > 20), "{name}: {help:?}");
    }
    let series = series(&text);
    assert!(series.len() < MAX_SERIES, "{} series: {series:#?}", series.len());
}

/// A counter whose first value is 1 has no increase, so the alert on the first dead letter would not fire.
#[test]
fn counters_of_failures_exist_before_the_first_failure() {
    let (_forebay, text) = idle();
    let series = series(&text);
    for name in [
        r#"forebay_drain_dead_total{reason="record_too_large"}"#,
        r#"forebay_drain_sent_total{topic="orders.v1"}"#,
        r#"forebay_topic_backlog{topic="orders.v1"}"#,
        r#"forebay_topic_accepted_total{topic="orders.v1"}"#,
        r#"forebay_drain_parked{topic="orders.v1"}"#,
        r#"forebay_login_total{result="failed"}"#,
        r#"forebay_consumer_applied_total{outcome="dead"}"#,
        r#"forebay_tls_handshakes_failed_total{reason="lost"}"#,
        r#"forebay_ratelimit_rejected_total{limiter="address"}"#,
        r#"forebay_bound_hit_total{bound="commit_queue"}"#,
        r#"forebay_index_rebuilds_total{cause="mismatch"}"#,
        r#"forebay_breaker_open{dependency="database"}"#,
        r#"forebay_cache_misses_total{cache="tokens"}"#,
        r#"http_requests_total{method="POST",route="/v1/commands/{kind}",status="503"}"#,
    ] {
        assert_eq!(series.get(name), Some(&0.0), "{name}");
    }
    let build = format!(r#"forebay_build_info{{commit="unknown",version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert!(option_env!("FOREBAY_COMMIT").is_some() || series.get(&*build) == Some(&1.0), "{build}");
}

#[test]
fn promtool_accepts_what_the_daemon_shows() {
    let found = promtool("# HELP up Up.\n# TYPE up gauge\nup 1\n").map(drop);
    let Some(()) = available("promtool_accepts_what_the_daemon_shows", "promtool", found) else { return };
    let bad = promtool("# TYPE Bad_total gauge\nBad_total 1\n").unwrap();
    assert!(!bad.status.success(), "promtool does not report a bad name");
    let (_forebay, text) = idle();
    let checked = promtool(&text).unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    let complaints: Vec<_> = said.lines().filter(|line| !FROZEN.contains(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn promtool(text: &str) -> Result<Output, String> {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().map_err(|error| format!("promtool: {error}"))?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ok(child.wait_with_output().unwrap())
}

/// The backlog is not read at start, but its topics are known at once.
#[test]
fn the_backlog_by_topic_is_correct_after_a_restart() {
    let mut forebay = forebay()
        .set("kafka.brokers", "127.0.0.1:1")
        .toml(&[daemon::kind("order", "orders"), daemon::kind("bill", "bills")].concat());
    forebay.start();
    post(&forebay, "order", 5);
    post(&forebay, "bill", 3);
    assert_eq!(topics(&forebay), [("(before start)", 0), ("bills", 3), ("orders", 5)].map(owned).into());

    forebay.kill();
    forebay.start();
    assert_eq!(topics(&forebay), [("(before start)", 0), ("bills", 3), ("orders", 5)].map(owned).into());
    post(&forebay, "order", 1);
    assert_eq!(topics(&forebay), [("(before start)", 0), ("bills", 3), ("orders", 6)].map(owned).into());

    // With the embedded broker the same log is delivered, and every topic falls to 0.
    forebay.kill();
    forebay.unset("kafka.brokers");
    forebay.start();
    wait::until_true("no record waits", LONG, || topics(&forebay).values().all(|records| *records == 0));
    let sent = series(&scrape(&forebay)).get(r#"forebay_drain_sent_total{topic="orders"}"#).copied();
    assert_eq!(sent, Some(6.0));
    post(&forebay, "bill", 1);
    wait::until_true("the record is delivered", LONG, || {
        topics(&forebay).values().all(|records| *records == 0)
    });
}

fn post(forebay: &Forebay, kind: &str, count: usize) {
    for number in 0..count {
        let body = format!(r#"{{"key":"{number}"}}"#);
        let answer = forebay.http().post(&format!("/v1/commands/{kind}"), &body).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

fn owned((topic, records): (&str, u64)) -> (String, u64) {
    (topic.to_owned(), records)
}

/// Values of `forebay_topic_backlog`, without the topic of users.
fn topics(forebay: &Forebay) -> BTreeMap<String, u64> {
    let text = scrape(forebay);
    let topic = |name: &str| {
        name.strip_prefix(r#"forebay_topic_backlog{topic=""#)?.strip_suffix("\"}").map(str::to_owned)
    };
    let backlogs = series(&text).into_iter().filter_map(|(name, n)| Some((topic(name)?, n as u64)));
    backlogs.filter(|(topic, _)| topic != "user.commands.v1").collect()
}
