//! The cost of rate limits: at most a tenth of the rate, with Redis on the same machine.

use std::time::Duration;

use crate::measure::{Limit, Outcome, median};
use crate::{client, records, server};
use support::daemon::metric;
use support::process::Forebay;
use support::services;

const WHAT: &str = "limits: requests/s, 256 connections, on / off";
const CONNECTIONS: usize = 256;
const PAIRS: usize = 9;
/// Duration of one run: hundreds of flushes.
const TURN: Duration = Duration::from_millis(1500);

/// Two daemons with one Redis run alternately; the other one is idle meanwhile. The limit is high enough to refuse no
/// request, because the load ends the program at the first response other than 202.
pub fn measure() -> Vec<Outcome> {
    let Some(redis) = services::redis("durable_path limits") else { return Vec::new() };
    let redis = redis.start();
    let daemon = |enabled: bool| {
        let mut daemon = server::daemon(server::UNREACHABLE_KAFKA)
            .set("redis.url", redis.url())
            .set("rate_limit.enabled", enabled)
            .set("rate_limit.write_limit", 1_000_000_000);
        daemon.start();
        daemon
    };
    let (limited, free) = (daemon(true), daemon(false));
    let load = |daemon: &Forebay| client::load(server::address(daemon), records::requests(CONNECTIONS), TURN);
    load(&limited);
    load(&free);
    let turns: Vec<(f64, f64)> = (0..PAIRS)
        .map(|n| {
            // The order within a pair alternates.
            let first = if n % 2 == 0 { &limited } else { &free };
            let second = if n % 2 == 0 { &free } else { &limited };
            let (a, b) = (load(first), load(second));
            if n % 2 == 0 { (a, b) } else { (b, a) }
        })
        .collect();
    let (with, without): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    let queries = metric(&limited, "forebay_step_seconds_count{step=\"kv.spend_all\"}");
    let requests = metric(&limited, "forebay_wal_append_total");
    vec![Outcome {
        what: WHAT,
        pairs: turns.iter().map(|(with, without)| with / without).collect(),
        limit: Limit::AtLeast(0.9),
        figures: format!(
            "{:.0}/s, {:.0}/s; {queries} requests to Redis for {requests} requests",
            median(&with),
            median(&without)
        ),
    }]
}
