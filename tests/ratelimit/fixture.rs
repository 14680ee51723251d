//! Limits in this process, and daemons, on a Redis that a test can break.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::command::KeyedDigest;
use forebay::kv;
use forebay::kv::{Kv, ServerUrl};
use forebay::metrics::Registry;
use forebay::ratelimit::{Config, Limits, LimitsParts, Metrics};
use forebay::task::Task;
use forebay::units::Span;

use support::daemon;
use support::http::{Client, Response};
use support::process::Forebay;

/// Longer than any step takes, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(60);
/// A window of which hardly any permits drain during a test.
pub const DAY: Duration = Duration::from_secs(86_400);
pub const ORDERS: &str = "/v1/commands/order.create";
/// No broker listens at this address, so records wait.
const NO_KAFKA: &str = "127.0.0.1:1";
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The limits of one daemon, and their metrics.
pub struct TestDaemon {
    pub limits: Limits,
    metrics: Metrics,
    calls: Arc<kv::Metrics>,
    _tasks: Vec<Task>,
}

impl TestDaemon {
    pub fn on(url: &str, config: &Config) -> Self {
        Self::with(url, false, config, Duration::from_secs(10))
    }

    pub fn with(url: &str, cluster: bool, config: &Config, timeout: Duration) -> Self {
        let registry = Registry::new().unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let calls = Arc::new(kv::Metrics::register(&registry).unwrap());
        let redis = kv::Config {
            url: ServerUrl::from(url),
            cluster,
            timeout: Span(timeout),
            ..kv::Config::default()
        };
        let limits = Limits::new(LimitsParts {
            config,
            kv: Some(Kv::redis(&redis, Arc::clone(&calls)).unwrap()),
            timeout,
            digest: KeyedDigest::new(&[7; 32]),
            metrics: &metrics,
        });
        Self { _tasks: limits.watch(), limits, metrics, calls }
    }

    pub fn is_local_only(&self) -> bool {
        self.metrics.fallback.get() == 1
    }

    /// Calls to the store so far.
    pub fn store_calls(&self) -> u64 {
        let calls = |step| self.calls.step_seconds.with_label_values(&[step]).get_sample_count();
        calls("kv.spend") + calls("kv.spend_all")
    }

    pub fn rejected(&self, limiter: &str) -> u64 {
        self.metrics.rejected.with_label_values(&[limiter]).get()
    }

    /// Sends one command of this address. Returns whether it was allowed.
    pub async fn writes(&self, client: IpAddr) -> bool {
        self.limits.write(None, client).await.is_ok()
    }
}

/// A configuration with this limit of commands in a window.
pub fn writes(limit: u64, window: Duration) -> Config {
    Config { write_limit: limit, write_window: Span(window), ..Config::default() }
}

/// The nth client.
pub fn client(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

/// Checks until `holds` returns `true`. Fails the test with `what` if that does not happen in time.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A whole daemon on this Redis, not started, that allows this many commands per day.
pub fn forebay(redis_url: &str, limit: u64) -> Forebay {
    daemon::under_test()
        .set("kafka.brokers", NO_KAFKA)
        .set("redis.url", redis_url)
        .set("rate_limit.write_limit", limit)
        .set("rate_limit.write_window", "1day")
}

/// Sends one command.
pub fn post(http: &mut Client) -> Response {
    http.post(ORDERS, r#"{"id":"o-1","amount":1}"#).unwrap()
}

/// Sends this many commands one by one. Returns how many were accepted. Every other response must be a correct refusal.
pub fn accepted(http: &mut Client, count: usize) -> usize {
    let is_accepted = |_: &usize| {
        let answer = post(http);
        if answer.status != 202 {
            assert_limited(&answer);
        }
        answer.status == 202
    };
    (0..count).filter(is_accepted).count()
}

/// Checks that a response is a correct refusal.
pub fn assert_limited(answer: &Response) {
    assert_eq!((answer.status, &answer.json()["code"]), (429, &"rate_limited".into()), "{}", answer.text());
    assert_eq!(answer.json()["retryable"], true);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
}

/// The JSON document of a limit.
pub fn document(enabled: bool, limit: u64, window: &str) -> String {
    serde_json::json!({"enabled": enabled, "limit": limit, "window": window}).to_string()
}
