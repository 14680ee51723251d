//! Time from the start of the process to readiness, with a backlog of a million records and with an empty one.

use std::time::{Duration, Instant};

use crate::measure::{Limit, Outcome, median};
use crate::{records, server};
use support::http::Client;
use support::process::Forebay;

/// The topic of the records, which are never sent.
const TOPIC: &str = "orders.v1";
const WAITING: u64 = 1_000_000;
/// Records added before each start. They fill three quarters of an unsealed segment, as after a crash.
const RECORDS_PER_START: u64 = 100_000;
const PAIRS: usize = 5;
/// Interval between checks, far below the measured times.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A start with the backlog may take at most one second longer.
pub fn measure() -> Vec<Outcome> {
    let mut empty = server::daemon(server::UNREACHABLE_KAFKA);
    let mut full = server::daemon(server::UNREACHABLE_KAFKA);
    // The first start of a log creates its directories.
    seconds_to_ready(&mut empty);
    records::fill(&full.wal_dir(), TOPIC, WAITING - RECORDS_PER_START);
    let turns: Vec<(f64, f64)> = (0..PAIRS)
        .map(|_| {
            records::fill(&full.wal_dir(), TOPIC, RECORDS_PER_START);
            (seconds_to_ready(&mut full), seconds_to_ready(&mut empty))
        })
        .collect();
    let (with, without): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    vec![Outcome {
        what: "start: seconds longer with 1 M records waiting",
        pairs: turns.iter().map(|(with, without)| with - without).collect(),
        limit: Limit::AtMost(1.0),
        figures: format!("{:.3} s, {:.3} s", median(&with), median(&without)),
    }]
}

fn seconds_to_ready(daemon: &mut Forebay) -> f64 {
    let started = Instant::now();
    daemon.launch();
    while !Client::new(&daemon.address()).get("/readyz").is_ok_and(|answer| answer.status == 200) {
        std::thread::sleep(POLL_INTERVAL);
    }
    let took = started.elapsed();
    daemon.kill();
    took.as_secs_f64()
}
