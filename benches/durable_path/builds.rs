//! Two builds of the daemon, run alternately: the cost of a compiler flag, an allocator or a change.

use std::env;

use crate::ack::{CONNECTIONS, PAIRS, TURN_DURATION, cpu_us};
use crate::measure::{Limit, Outcome, median};
use crate::{client, records, server};
use support::daemon::metric;
use support::process::Forebay;

/// Variable with the path of the other build. Without it, this part measures nothing.
const OTHER: &str = "FOREBAY_BENCH_OTHER";
const WHAT: &str = "builds: requests/s, 256 connections, this build / the other";
const CPU: &str = "builds: CPU per request, the other / this build";
const APPENDED: &str = "forebay_wal_append_total";

/// Rate and CPU time per request, of this build and of the other one.
type Turn = ((f64, f64), (f64, f64));

/// Both builds accept without Kafka, and one is idle while the other runs. A busy machine affects CPU times less than
/// rates.
pub fn measure() -> Vec<Outcome> {
    let Some(other) = env::var_os(OTHER) else {
        eprintln!("builds: skipped, because {OTHER} is not set");
        return Vec::new();
    };
    let mut this = server::daemon(server::UNREACHABLE_KAFKA);
    let mut other = Forebay::new(other).set("kafka.brokers", server::UNREACHABLE_KAFKA);
    this.start();
    other.start();
    let pids = [this.pid(), other.pid()];
    // Rate, and microseconds of CPU per request.
    let load = |daemon: &Forebay, pid: u32| {
        let (cpu, appended) = (cpu_us(pid), metric(daemon, APPENDED));
        let rate = client::load(server::address(daemon), records::requests(CONNECTIONS), TURN_DURATION);
        (rate, (cpu_us(pid) - cpu) / (metric(daemon, APPENDED) - appended))
    };
    load(&this, pids[0]);
    load(&other, pids[1]);
    let turns: Vec<_> = (0..PAIRS)
        .map(|n| match n % 2 {
            0 => (load(&this, pids[0]), load(&other, pids[1])),
            _ => {
                let theirs = load(&other, pids[1]);
                (load(&this, pids[0]), theirs)
            }
        })
        .collect();
    let side = |pick: fn(&Turn) -> f64| median(&turns.iter().map(pick).collect::<Vec<_>>());
    vec![
        Outcome {
            what: WHAT,
            pairs: turns.iter().map(|((this, _), (other, _))| this / other).collect(),
            limit: Limit::AtLeast(0.97),
            figures: format!("{:.0}/s, {:.0}/s", side(|turn| turn.0.0), side(|turn| turn.1.0)),
        },
        Outcome {
            what: CPU,
            pairs: turns.iter().map(|((_, this), (_, other))| other / this).collect(),
            limit: Limit::AtLeast(0.97),
            figures: format!("{:.1} us, {:.1} us", side(|turn| turn.1.1), side(|turn| turn.0.1)),
        },
    ]
}
