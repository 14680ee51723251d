//! The stores that tests run on, and helpers to wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::kv::{Config, Kv, KvError, Metrics, ServerUrl};
use forebay::metrics::Registry;
use forebay::units::Span;
use tempfile::TempDir;

use support::redis::{Redis, RedisCluster};
use support::{scratch, services};

/// Longer than any step takes, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(60);
/// A time to live that outlasts every test.
pub const TTL: Duration = Duration::from_secs(600);
/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A store and its server, which ends with it.
pub struct TestStore {
    pub kv: Kv,
    _backing: Backing,
}

/// The store's server or directory, held as long as the store is used.
#[expect(dead_code, reason = "held only to be dropped")]
enum Backing {
    Directory(TempDir),
    Server(Redis),
    Cluster(RedisCluster),
}

/// A store in a directory of its own.
pub fn embedded() -> TestStore {
    let dir = scratch::dir("kv");
    TestStore { kv: Kv::embedded(dir.path()).unwrap(), _backing: Backing::Directory(dir) }
}

/// Every kind of store that this machine offers.
pub fn all_stores(test: &str) -> Vec<TestStore> {
    let mut stores = vec![embedded()];
    if let Some(starter) = services::redis(test) {
        let server = starter.start();
        stores.push(TestStore { kv: patient(&server.url(), false), _backing: Backing::Server(server) });
        let cluster = starter.start_cluster();
        stores.push(TestStore { kv: patient(&cluster.url(), true), _backing: Backing::Cluster(cluster) });
    }
    stores
}

/// A client with a timeout long enough for a busy machine.
pub fn patient(url: &str, cluster: bool) -> Kv {
    client(url, cluster, Duration::from_secs(10))
}

/// A client with this timeout.
pub fn client(url: &str, cluster: bool, timeout: Duration) -> Kv {
    measured(url, cluster, timeout).0
}

/// A client with this timeout, and its metrics.
pub fn measured(url: &str, cluster: bool, timeout: Duration) -> (Kv, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap());
    let config = Config { url: ServerUrl::from(url), cluster, timeout: Span(timeout), ..Config::default() };
    assert_eq!(config.validate(), []);
    (Kv::redis(&config, Arc::clone(&metrics)).unwrap(), metrics)
}

/// Checks until `holds` returns `true`. Fails the test with `what` if that does not happen in time.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Repeats a call until it succeeds.
pub async fn answered<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, KvError>) -> T {
    let mut answer = None;
    until(what, async || {
        answer = ask().await.ok();
        answer.is_some()
    })
    .await;
    answer.unwrap()
}
