//! The service levels with real MariaDB, Redis and Kafka on the same machine, at the highest rate that 64 clients
//! reach with one daemon: latency of creates and reads, failures, memory, and the time of each step of a registration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::measure::{Limit, Outcome};
use crate::services::Services;
use crate::{client, services};
use support::daemon::{metric, resident};
use support::process::Forebay;
use support::wait;

const TEST: &str = "users service";
const CONNECTIONS: usize = 64;
const TURN: Duration = Duration::from_secs(10);
/// Users that are registered before the reads and logins.
const USERS: u64 = 500;
const APPLIED_WITHIN: Duration = Duration::from_secs(300);

/// Result of one run.
struct LoadResult {
    times: Vec<Duration>,
    failed: usize,
    took: Duration,
}

impl LoadResult {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// A percentile of the times, in milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    fn failed_per_thousand(&self) -> f64 {
        1e3 * self.failed as f64 / (self.times.len() + self.failed).max(1) as f64
    }
}

/// Returns the service levels. Prints the steps of a registration to standard error.
pub fn measure() -> Vec<Outcome> {
    let Some(parts) = Services::start(TEST) else { return Vec::new() };
    // The hashes of registrations occupy the only hashing thread, so logins here use cached passwords.
    let daemon = parts.daemon().set("login.credential_cache_ttl", "1h");
    let key = services::key_file(&daemon, "wal.key", &"5a".repeat(32));
    let mut daemon = daemon
        .set("wal.encryption_key_file", key.display().to_string())
        .set("users.password_hashing", "deferred");
    daemon.start();
    levels(&daemon)
}

fn levels(daemon: &Forebay) -> Vec<Outcome> {
    let address = daemon.address().parse().expect("host:port");
    register_users(daemon);
    let numbers = Arc::new(AtomicU64::new(USERS));
    let before = steps(daemon);
    let creates = load(address, move || {
        let number = numbers.fetch_add(1, Relaxed);
        client::request("POST", "/v1/users", &user(number))
    });
    eprintln!("time of each step of a registration:");
    for (step, (seconds, count)) in steps(daemon) {
        let (seconds_before, count_before) = before.get(&step).copied().unwrap_or_default();
        let times = count - count_before;
        if times > 0.0 {
            eprintln!("  {step:<24} {:>9.3} ms × {times}", (seconds - seconds_before) * 1e3 / times);
        }
    }
    let memory = resident(daemon) as f64;
    let of_users = |next: Arc<AtomicU64>| move || next.fetch_add(1, Relaxed) % USERS;
    let next = of_users(Arc::default());
    let reads = load(address, move || client::request("GET", &format!("/v1/users/user-{}", next()), ""));
    let next = of_users(Arc::default());
    let logins = load(address, move || {
        let number = next();
        let body = json!({"name": format!("user-{number}"), "password": format!("correct horse {number}")});
        client::request("POST", "/login", &body.to_string())
    });
    let level =
        |what, value: f64, figures| Outcome { what, pairs: vec![value], limit: Limit::AtMost(1.0), figures };
    let figures = |load: &LoadResult| {
        format!(
            "{:.0}/s; p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms; {:.2} of a thousand failed",
            load.rate(),
            load.percentile(50),
            load.percentile(95),
            load.percentile(99),
            load.failed_per_thousand()
        )
    };
    vec![
        level("service: create, p95 / 500 ms", creates.percentile(95) / 500.0, figures(&creates)),
        level("service: create, failed / one in a thousand", creates.failed_per_thousand(), String::new()),
        level("service: read, p95 / 200 ms", reads.percentile(95) / 200.0, figures(&reads)),
        level("service: login, warm, p95 / 500 ms", logins.percentile(95) / 500.0, figures(&logins)),
        level(
            "service: resident memory / 512 MiB",
            memory / (512.0 * 1024.0 * 1024.0),
            format!("{:.0} MiB after the creates", memory / 1024.0 / 1024.0),
        ),
    ]
}

fn user(number: u64) -> String {
    json!({
        "name": format!("user-{number}"),
        "email": format!("user-{number}@example.org"),
        "phone": format!("+4917{number:08}"),
        "password": format!("correct horse {number}"),
    })
    .to_string()
}

/// Registers users, and logs each of them in once.
fn register_users(daemon: &Forebay) {
    let mut http = daemon.http();
    for number in 0..USERS {
        assert_eq!(http.post("/v1/users", &user(number)).expect("an answer").status, 202);
    }
    let applied = "forebay_consumer_applied_total{outcome=\"applied\"}";
    wait::until_true("all are applied", APPLIED_WITHIN, || {
        let text = daemon.admin_http().get("/metrics").expect("metrics").text();
        text.contains(applied) && metric(daemon, applied) >= USERS as f64
    });
    for number in 0..USERS {
        let body = json!({"name": format!("user-{number}"), "password": format!("correct horse {number}")});
        assert_eq!(http.post("/login", &body.to_string()).expect("an answer").status, 200);
    }
}

/// Seconds and count of each step so far.
fn steps(daemon: &Forebay) -> BTreeMap<String, (f64, f64)> {
    let text = daemon.admin_http().get("/metrics").expect("metrics").text();
    let mut steps: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once("\"} ") else { continue };
        let value: f64 = value.parse().unwrap_or_default();
        if let Some(step) = name.strip_prefix("forebay_step_seconds_sum{step=\"") {
            steps.entry(step.to_owned()).or_default().0 = value;
        } else if let Some(step) = name.strip_prefix("forebay_step_seconds_count{step=\"") {
            steps.entry(step.to_owned()).or_default().1 = value;
        }
    }
    steps
}

/// Runs connections that each send the next request when they have the response.
fn load(address: SocketAddr, next: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> LoadResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (next, began) = (Arc::new(next), Instant::now());
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let next = Arc::clone(&next);
            clients.spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("the server listens");
                stream.set_nodelay(true).expect("TCP_NODELAY");
                let (mut times, mut failed) = (Vec::new(), 0);
                while began.elapsed() < TURN {
                    let request = next();
                    let sent = Instant::now();
                    stream.write_all(&request).await.expect("a request leaves");
                    match succeeded(&mut stream).await {
                        true => times.push(sent.elapsed()),
                        false => failed += 1,
                    }
                }
                (times, failed)
            });
        }
        let mut load = LoadResult { times: Vec::new(), failed: 0, took: Duration::ZERO };
        while let Some(client) = clients.join_next().await {
            let (times, failed) = client.expect("a client's times");
            load.times.extend(times);
            load.failed += failed;
        }
        load.took = began.elapsed();
        load
    })
}

/// Reads one complete response. Returns whether its status is 2xx.
async fn succeeded(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::with_capacity(2048);
    loop {
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = std::str::from_utf8(&answer[..head]).expect("a head is text");
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if answer.len() >= head + 4 + length.parse::<usize>().expect("a length") {
                return text.starts_with("HTTP/1.1 2");
            }
        }
        let read = stream.read_buf(&mut answer).await.expect("an answer comes");
        assert!(read > 0, "the server closed the connection");
    }
}
