//! Sustained rate with a Kafka broker on the same machine. The daemon is compared with a server that produces each
//! record to Kafka and waits for the confirmation. Both run alternately.
//!
//! The daemon's rate counts records that reached Kafka before the end of its run. Records that still wait do not
//! count. `FOREBAY_BENCH_PAIRS` and `FOREBAY_BENCH_TURN_MS` change the number and the duration of the runs.

use std::time::{Duration, Instant};

use crate::measure::{Limit, Outcome, median};
use crate::records::KIND;
use crate::server::NoLogServer;
use crate::{ack, client, records, server};
use support::admin::{Admin, unique_name};
use support::daemon::{await_drained, backlog, metric};
use support::process::Forebay;
use support::services;

const WHAT: [(&str, usize); 2] = [
    ("sustained: records/s, 64 connections, log / waits for Kafka", 64),
    ("sustained: records/s, 256 connections, log / waits for Kafka", 256),
];
/// Partitions of the topic.
const PARTITIONS: usize = 8;
const APPENDED: &str = "forebay_wal_append_total";

/// Result of one run of one side.
struct SustainedTurn {
    /// Records per second that reached Kafka.
    rate: f64,
    /// Responses per second.
    acks: f64,
    /// Records that waited at the end.
    backlog: f64,
    /// CPU time of the server per response, in microseconds.
    cpu_us: f64,
}

/// The daemon's sustained rate must be higher.
pub fn measure() -> Vec<Outcome> {
    let Some(bootstrap) = services::shared_kafka("durable_path sustained") else { return Vec::new() };
    let topic = unique_name("bench");
    Admin::new(&bootstrap).create_topic(&topic, PARTITIONS, -1, &[]);
    let kind = format!(
        "[[kinds]]\nname = \"{KIND}\"\ntopic = \"{topic}\"\nkey = \"/id\"\nschema_file = \"builtin:{KIND}\""
    );
    let mut daemon = server::daemon(&bootstrap).toml(&kind);
    daemon.start();
    let waits = NoLogServer::producing(&bootstrap, &topic);
    WHAT.into_iter().flat_map(|(what, connections)| compare(what, connections, &mut daemon, &waits)).collect()
}

fn compare(
    what: &'static str,
    connections: usize,
    daemon: &mut Forebay,
    waits: &NoLogServer,
) -> Vec<Outcome> {
    let (pairs, time) = (setting("PAIRS", 9), Duration::from_millis(setting("TURN_MS", 3000)));
    // The first run grows buffers, segments, threads and the broker's heap.
    run_daemon_turn(daemon, connections, time);
    run_no_log_turn(waits, connections, time);
    let turns: Vec<(SustainedTurn, SustainedTurn)> = (0..pairs)
        .map(|_| (run_daemon_turn(daemon, connections, time), run_no_log_turn(waits, connections, time)))
        .collect();
    let of = |value: fn(&(SustainedTurn, SustainedTurn)) -> f64| {
        median(&turns.iter().map(value).collect::<Vec<_>>())
    };
    let rates = (of(|turn| turn.0.rate), of(|turn| turn.1.rate));
    let sustained = Outcome {
        what,
        pairs: turns.iter().map(|(log, waits)| log.rate / waits.rate).collect(),
        limit: Limit::AtLeast(1.0),
        figures: format!(
            "{:.0}/s ({:.0} acks/s, backlog {:.0} at the end), {:.0}/s; {:.1} us, {:.1} us of CPU each",
            rates.0,
            of(|turn| turn.0.acks),
            of(|turn| turn.0.backlog),
            rates.1,
            of(|turn| turn.0.cpu_us),
            of(|turn| turn.1.cpu_us),
        ),
    };
    vec![sustained, half_load(connections, rates, daemon, waits, time)]
}

/// Latency of both at half of their sustained rate, for information.
fn half_load(
    connections: usize,
    rates: (f64, f64),
    daemon: &Forebay,
    waits: &NoLogServer,
    time: Duration,
) -> Outcome {
    let requests = || records::requests(connections);
    let log = client::paced(server::address(daemon), requests(), rates.0 / 2.0, time);
    await_drained(daemon);
    let wait = client::paced(waits.address(), requests(), rates.1 / 2.0, time);
    let shown = |times: &[Duration]| {
        format!("p50 {:.2} ms, p99 {:.2} ms", percentile_ms(times, 0.5), percentile_ms(times, 0.99))
    };
    Outcome {
        what: "sustained: p99 at half of that rate, log / waits for Kafka",
        pairs: vec![percentile_ms(&log, 0.99) / percentile_ms(&wait, 0.99)],
        limit: Limit::None,
        figures: format!("{connections} connections: {}; {}", shown(&log), shown(&wait)),
    }
}

fn run_daemon_turn(daemon: &mut Forebay, connections: usize, time: Duration) -> SustainedTurn {
    let pid = daemon.pid();
    let (appended, cpu) = (metric(daemon, APPENDED), ack::cpu_us(pid));
    let acks = client::load(server::address(daemon), records::requests(connections), time);
    let backlog = backlog(daemon)["backlog"].as_f64().expect("the backlog");
    let (accepted, cpu) = (metric(daemon, APPENDED) - appended, ack::cpu_us(pid) - cpu);
    await_drained(daemon);
    // On both sides only the time of the load counts, without connecting and without requesting the backlog.
    SustainedTurn { rate: acks * (1.0 - backlog / accepted), acks, backlog, cpu_us: cpu / accepted }
}

fn run_no_log_turn(waits: &NoLogServer, connections: usize, time: Duration) -> SustainedTurn {
    let cpu = ack::cpu_us(waits.pid());
    let started = Instant::now();
    let acks = client::load(waits.address(), records::requests(connections), time);
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), ack::cpu_us(waits.pid()) - cpu);
    SustainedTurn { rate: acks, acks, backlog: 0.0, cpu_us: cpu / (acks * seconds) }
}

/// The percentile of these times in milliseconds. `part` is a fraction, such as 0.99.
fn percentile_ms(times: &[Duration], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(format!("FOREBAY_BENCH_{name}")).ok();
    set.map_or(default, |set| set.parse().expect("a number"))
}
