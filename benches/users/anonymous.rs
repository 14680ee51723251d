//! The cost of a client without credentials on each public route: CPU time of the runtime's threads and of all others,
//! memory, size of the response, statements to the database. The test that limits the last two sends the same
//! requests.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, thread};

use serde_json::json;

use crate::measure::{Limit, Outcome};
use crate::services;
use crate::services::Services;
use support::anonymous::AnonymousRequest;
use support::process::Forebay;
use support::{anonymous, wait};

const TEST: &str = "users anonymous";
/// Consecutive requests, to measure times.
const TIMES: u64 = 200;
/// Concurrent clients, to measure memory. They are more than the queue of passwords admits.
const CLIENTS: u64 = 64;
/// Name of the runtime's threads, including those for blocking work such as digests and lookups in the log.
const RUNTIME: &str = "tokio-rt-worker";
const APPLIED_WITHIN: Duration = Duration::from_secs(120);

/// Cost of one request.
struct RequestCost {
    runtime: Duration,
    others: Duration,
    answer: usize,
    statements: f64,
    /// Peak increase of the resident memory with [`CLIENTS`] concurrent clients, in bytes.
    memory: u64,
}

/// CPU time so far in nanoseconds, of the runtime's threads and of all others.
#[derive(Clone, Copy, Default)]
struct CpuTime {
    runtime: u64,
    others: u64,
}

/// Prints the table to standard output. Returns the two figures that have a limit.
pub fn measure() -> Vec<Outcome> {
    let Some(parts) = Services::start(TEST) else { return Vec::new() };
    let daemon = parts.daemon();
    let key = services::key_file(&daemon, "jwt.keys", &"5a".repeat(32));
    let mut daemon = daemon
        .set("auth.mode", "jwt")
        .set("auth.jwt_key_file", key.display().to_string())
        .set("rate_limit.enabled", false);
    daemon.start();
    register_known(&daemon);
    let (mut registration, mut others, mut memory) = (0.0_f64, 0.0_f64, 0);
    println!(
        "{:<32} {:<28} {:>11} {:>11} {:>9} {:>10} {:>11}",
        "route", "", "runtime", "threads", "response", "statements", "64 at once"
    );
    for probe in anonymous::anonymous_requests() {
        let cost = cost(&mut daemon, &probe);
        let runtime = cost.runtime.as_secs_f64();
        match probe.what {
            anonymous::NEW_USER => registration = runtime,
            _ => others = others.max(runtime),
        }
        memory = memory.max(cost.memory);
        println!(
            "{:<32} {:<28} {:>8.0} µs {:>8.0} µs {:>7} B {:>10.1} {:>7.1} MiB",
            format!("{} {}", probe.route.0, probe.route.1),
            probe.what,
            cost.runtime.as_secs_f64() * 1e6,
            cost.others.as_secs_f64() * 1e6,
            cost.answer,
            cost.statements,
            cost.memory as f64 / 1024.0 / 1024.0
        );
    }
    let level =
        |what, value| Outcome { what, pairs: vec![value], limit: Limit::AtMost(1.0), figures: String::new() };
    vec![
        level(
            "anonymous: the runtime's time of the most expensive refused request / of a registration",
            others / registration,
        ),
        level(
            "anonymous: memory of 64 of the most expensive at once / 64 MiB",
            memory as f64 / 64.0 / 1024.0 / 1024.0,
        ),
    ]
}

fn register_known(daemon: &Forebay) {
    let (name, password) = anonymous::EXISTING_USER;
    let user =
        json!({"name": name, "email": "known@example.org", "phone": "+491700000000", "password": password})
            .to_string();
    assert_eq!(daemon.http().post("/v1/users", &user).expect("an answer").status, 202);
    let body = json!({"name": name, "password": password}).to_string();
    wait::until_true("the user exists", APPLIED_WITHIN, || {
        daemon.http().post("/login", &body).expect("an answer").status == 200
    });
}

fn cost(daemon: &mut Forebay, probe: &AnonymousRequest) -> RequestCost {
    let pid = daemon.pid();
    let mut http = daemon.http();
    let mut ask = |number| probe.send(&mut http, number).expect("an answer").body.len();
    // Initialisation at the first request does not count.
    ask(u64::MAX);
    let (spent, statements) = (spent(pid), statements(daemon));
    let answer = (0..TIMES).map(&mut ask).max().unwrap_or_default();
    let (after, statements) = (self::spent(pid), self::statements(daemon) - statements);
    let each = |nanoseconds: u64| Duration::from_nanos(nanoseconds / TIMES);
    RequestCost {
        runtime: each(after.runtime.saturating_sub(spent.runtime)),
        others: each(after.others.saturating_sub(spent.others)),
        answer,
        statements: statements / TIMES as f64,
        memory: memory_of_many(daemon, probe),
    }
}

/// Peak increase of the resident memory during concurrent requests, in bytes.
fn memory_of_many(daemon: &mut Forebay, probe: &AnonymousRequest) -> u64 {
    let pid = daemon.pid();
    // 5 resets the peak (proc(5)).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
    let before = status(pid, "VmRSS");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut http = daemon.http();
            scope.spawn(move || {
                for turn in 0..2 {
                    let number = TIMES + 1 + client * 2 + turn;
                    // Some are refused while the maximum number is in progress.
                    drop(probe.send(&mut http, number));
                }
            });
        }
    });
    status(pid, "VmHWM").saturating_sub(before)
}

fn spent(pid: u32) -> CpuTime {
    let mut spent = CpuTime::default();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    for thread in threads.flatten().map(|entry| entry.path()) {
        // A thread may end meanwhile.
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        let Ok(times) = fs::read_to_string(thread.join("schedstat")) else { continue };
        let time: u64 = times.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default();
        if name.trim_end() == RUNTIME {
            spent.runtime += time;
        } else {
            spent.others += time;
        }
    }
    spent
}

/// A line of `/proc/<pid>/status`, in bytes.
fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let kib = lines.get(name).and_then(|value| value.trim().strip_suffix(" kB")).expect("a size in kB");
    kib.parse::<u64>().expect("a number") * 1024
}

/// Statements to the database so far, without those of the daemon's background work.
fn statements(daemon: &Forebay) -> f64 {
    anonymous::statements(&daemon.admin_http().get("/metrics").expect("metrics").text()) as f64
}
