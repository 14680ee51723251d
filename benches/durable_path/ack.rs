//! Many connections: acknowledged requests per second, with the log and without, encrypted and plain.

use std::time::Duration;

use crate::measure::{Limit, Outcome, median};
use crate::records::KIND;
use crate::server::NoLogServer;
use crate::{client, records, server};
use support::admin::{Admin, unique_name};
use support::daemon::metric;
use support::process::Forebay;
use support::{services, wait};

const COMPARISON: &str = "ack: requests/s, 256 connections, log / no log";
const WHILE_DRAINING: &str = "ack: the same while Kafka runs on the same cores";
/// Connections per load.
pub const CONNECTIONS: usize = 256;
/// Pairs of runs.
pub const PAIRS: usize = 9;
/// Timeout to deliver the records of one run. Usually it takes a second.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// Duration of one run: hundreds of flushes.
pub const TURN_DURATION: Duration = Duration::from_millis(1500);

const APPENDED: &str = "forebay_wal_append_total";
const KEYED: &str = "ack: requests/s, 256 connections, with an Idempotency-Key / without";
const TRACED: &str = "ack: requests/s, 256 connections, 5 % traced to nowhere / not traced";
const ENCRYPTED: &str = "ack: requests/s, 256 connections, encrypted / plain";

/// Encryption at rest may cost at most a tenth of the rate.
pub fn encrypted() -> Vec<Outcome> {
    let mut sealing = server::daemon(server::UNREACHABLE_KAFKA);
    let key = server::key_file(sealing.dir());
    sealing.configure("wal.encryption_key_file", key);
    vec![compare_in_turns(ENCRYPTED, Limit::AtLeast(0.9), sealing)]
}

/// Traces with the default sample ratio and an unavailable collector may cost at most a tenth of the rate.
pub fn traced() -> Vec<Outcome> {
    let traced = server::daemon(server::UNREACHABLE_KAFKA);
    let traced = traced.set("telemetry.otlp_endpoint", format!("http://{}", server::UNREACHABLE_KAFKA));
    vec![compare_in_turns(TRACED, Limit::AtLeast(0.9), traced)]
}

/// Compares a daemon with a plain one. They run alternately; the other one is idle meanwhile. The CPU time per request
/// is also reported, because a busy machine affects it less than the rate.
fn compare_in_turns(what: &'static str, limit: Limit, mut other: Forebay) -> Outcome {
    let mut plain = server::daemon(server::UNREACHABLE_KAFKA);
    plain.start();
    other.start();
    let pids = [other.pid(), plain.pid()];
    let load = |daemon: &Forebay| {
        client::load(server::address(daemon), records::requests(CONNECTIONS), TURN_DURATION)
    };
    load(&other);
    load(&plain);
    let turns: Vec<(f64, f64)> = (0..PAIRS)
        .map(|n| {
            // The order within a pair alternates.
            let first = if n % 2 == 0 { &other } else { &plain };
            let second = if n % 2 == 0 { &plain } else { &other };
            let (a, b) = (load(first), load(second));
            if n % 2 == 0 { (a, b) } else { (b, a) }
        })
        .collect();
    let (with, without): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    Outcome {
        what,
        pairs: turns.iter().map(|(with, without)| with / without).collect(),
        limit,
        figures: format!(
            "{:.0}/s, {:.0}/s; {:.1} us, {:.1} us of CPU each",
            median(&with),
            median(&without),
            cpu_us(pids[0]) / metric(&other, APPENDED),
            cpu_us(pids[1]) / metric(&plain, APPENDED),
        ),
    }
}

/// A new `Idempotency-Key` on each request may cost at most a fifth of the rate. Both sides use one daemon, so that
/// they have the same log and the same index.
pub fn keyed() -> Vec<Outcome> {
    let mut daemon = server::daemon(server::UNREACHABLE_KAFKA);
    daemon.start();
    let requests = || records::requests(CONNECTIONS);
    let plain = || client::load(server::address(&daemon), requests(), TURN_DURATION);
    let keyed = || {
        let requests = requests().iter().map(|request| client::keyed(request)).collect();
        client::load(server::address(&daemon), requests, TURN_DURATION)
    };
    keyed();
    plain();
    let turns: Vec<(f64, f64)> = (0..PAIRS)
        .map(|n| match n % 2 {
            0 => (keyed(), plain()),
            _ => {
                let without = plain();
                (keyed(), without)
            }
        })
        .collect();
    let (with, without): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    vec![Outcome {
        what: KEYED,
        pairs: turns.iter().map(|(with, without)| with / without).collect(),
        limit: Limit::AtLeast(0.8),
        figures: format!("{:.0}/s, {:.0}/s", median(&with), median(&without)),
    }]
}

/// CPU time of a process so far, in microseconds.
pub fn cpu_us(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the daemon's figures");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    // utime and stime, fields 14 and 15 of proc(5), in ticks of a hundredth of a second.
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() * 1e4
}

/// With the log, at least half of the rate while Kafka is unavailable and all cores serve requests. For information,
/// the rate while the daemon drains to a broker on the same cores.
pub fn measure() -> Vec<Outcome> {
    let away = server::daemon(server::UNREACHABLE_KAFKA);
    let mut outcomes = vec![compare(COMPARISON, Limit::AtLeast(0.5), away, |_| {})];
    if let Some(bootstrap) = services::shared_kafka("durable_path ack") {
        let topic = unique_name("bench");
        Admin::new(&bootstrap).create_topic(&topic, 8, -1, &[]);
        let kind = format!(
            "[[kinds]]\nname = \"{KIND}\"\ntopic = \"{topic}\"\nkey = \"/id\"\nschema_file = \"builtin:{KIND}\""
        );
        let draining = server::daemon(&bootstrap).toml(&kind);
        outcomes.push(compare(WHILE_DRAINING, Limit::None, draining, await_drained));
    }
    outcomes
}

/// Compares the daemon with a server without a log. `settle` returns when the daemon is idle.
fn compare(what: &'static str, limit: Limit, mut daemon: Forebay, settle: fn(&Forebay)) -> Outcome {
    daemon.start();
    let without = NoLogServer::start();
    let durable = || {
        let rate = client::load(server::address(&daemon), records::requests(CONNECTIONS), TURN_DURATION);
        settle(&daemon);
        rate
    };
    let no_log = || client::load(without.address(), records::requests(CONNECTIONS), TURN_DURATION);
    // The first run grows buffers, segments and threads.
    durable();
    no_log();
    let turns: Vec<(f64, f64)> = (0..PAIRS).map(|_| (durable(), no_log())).collect();
    let (with, without): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    Outcome {
        what,
        pairs: turns.iter().map(|(with, without)| with / without).collect(),
        limit,
        figures: format!("{:.0}/s, {:.0}/s", median(&with), median(&without)),
    }
}

fn await_drained(daemon: &Forebay) {
    wait::until_true("the backlog is empty", DRAINED_WITHIN, || {
        daemon.admin_http().get("/admin/backlog").is_ok_and(|answer| answer.json()["backlog"] == 0)
    });
}
