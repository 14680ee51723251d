//! Services that a test can request, and the handling of missing ones.
//!
//! `cargo test` alone must work on a machine that has fetched nothing: a test whose service is missing skips itself,
//! and reports this on stdout. `tests/run` sets `FOREBAY_TEST_SERVICES=required`: then such a test fails, so that the
//! complete run skips no test.
//!
//! ```ignore
//! let Some(kafka) = services::kafka("name_of_the_test") else { return };         // its own cluster
//! let Some(bootstrap) = services::shared_kafka("name_of_the_test") else { return }; // a broker shared with others
//! let Some(kafka) = services::secure_kafka("name_of_the_test") else { return };  // a broker with TLS and SASL, shared
//! let Some(redis) = services::redis("name_of_the_test") else { return };         // its own servers
//! let Some(url) = services::postgres("name_of_the_test") else { return };        // a new database on a shared server
//! let Some(server) = services::own_postgres("name_of_the_test") else { return }; // a server of its own
//! ```

use std::io::Write;
use std::ops::Deref;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::{env, io, thread};

use super::kafka::{ClusterOptions, Jars, Kafka};
use super::mariadb::MariaDb;
use super::pgbouncer::PgBouncer;
use super::postgres::Postgres;
use super::redis::{Redis, RedisCluster};
use super::sql::SqlServer;
use super::{pgbouncer, redis};

/// The value `required` makes a missing service an error.
const SERVICES: &str = "FOREBAY_TEST_SERVICES";

/// `host:port` of a running broker, for tests that do not control theirs.
const EXTERNAL_KAFKA: &str = "FOREBAY_TEST_KAFKA";

/// Maximum number of clusters at once; more would exhaust the machine: three brokers use a gigabyte.
const MAX_CLUSTERS: usize = 4;

/// A permit to run one cluster. It occupies one of a few slots until dropped, so bind it for the whole test and request
/// it once per test: a second request could wait for the first.
pub struct KafkaPermit {
    jars: Jars,
}

impl Deref for KafkaPermit {
    type Target = Jars;

    fn deref(&self) -> &Jars {
        &self.jars
    }
}

impl Drop for KafkaPermit {
    fn drop(&mut self) {
        *CLUSTERS_RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CLUSTER_STOPPED.notify_one();
    }
}

static CLUSTERS_RUNNING: Mutex<usize> = Mutex::new(0);
static CLUSTER_STOPPED: Condvar = Condvar::new();

/// A permit for a test that controls its own brokers. `None`: skip the test, which has been reported.
pub fn kafka(test: &str) -> Option<KafkaPermit> {
    let jars = available(test, "Apache Kafka", jars())?;
    // As many clusters at a time as cores: each occupies about one core while it starts.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let places = cores.min(MAX_CLUSTERS);
    let taken = CLUSTERS_RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken =
        CLUSTER_STOPPED.wait_while(taken, |taken| *taken >= places).unwrap_or_else(PoisonError::into_inner);
    *taken += 1;
    Some(KafkaPermit { jars })
}

/// For a test that needs a broker but does not control it: the address of a shared broker, so topics need unique names
/// (`admin::unique_name`). The tests' own clients do not create topics by using them.
pub fn shared_kafka(test: &str) -> Option<String> {
    if let Ok(external) = env::var(EXTERNAL_KAFKA) {
        return Some(external);
    }
    let jars = available(test, "Apache Kafka", jars())?;
    // Never dropped. The kernel kills the broker when this process ends, and its files are then removed.
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    let kafka = SHARED.get_or_init(|| jars.start(ClusterOptions::single()));
    Some(kafka.bootstrap())
}

/// For a test of TLS, logins and permissions: a shared broker, so topics, users and groups need unique names. `None`:
/// skip the test, which has been reported.
pub fn secure_kafka(test: &str) -> Option<&'static Kafka> {
    let jars = available(test, "Apache Kafka", jars())?;
    available(test, "openssl", has_openssl())?;
    // Never dropped, like the other shared broker.
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    Some(SHARED.get_or_init(|| jars.start(ClusterOptions::single().secure())))
}

fn has_openssl() -> Result<(), String> {
    let run = std::process::Command::new("openssl").arg("version").output();
    run.map(drop).map_err(|error| format!("no openssl: {error}"))
}

/// For a test that controls its own Redis. `None`: skip the test, which has been reported.
pub fn redis(test: &str) -> Option<RedisStarter> {
    available(test, "redis-server", redis::find()).map(|()| RedisStarter)
}

/// A permit to start Redis servers. They are small, so their number is not limited.
pub struct RedisStarter;

impl RedisStarter {
    /// Starts one server.
    pub fn start(&self) -> Redis {
        Redis::start()
    }

    /// Starts one server with further options.
    pub fn start_with(&self, options: &[&str]) -> Redis {
        Redis::start_with(options)
    }

    /// Starts a cluster of three servers.
    pub fn start_cluster(&self) -> RedisCluster {
        RedisCluster::start()
    }

    /// Starts a cluster of three servers with further options.
    pub fn start_cluster_with(&self, options: &[&str]) -> RedisCluster {
        RedisCluster::start_with(options)
    }
}

/// For a test that needs a MariaDB but does not control it: the URL of a new database on a shared server.
pub fn mariadb(test: &str) -> Option<String> {
    // Never dropped, like the shared broker.
    static SHARED: OnceLock<Result<MariaDb, String>> = OnceLock::new();
    let server = SHARED.get_or_init(MariaDb::new).as_ref().map_err(Clone::clone);
    available(test, "MariaDB", server).map(SqlServer::create_database)
}

/// For a test that stops, kills, freezes or fills its MariaDB.
pub fn own_mariadb(test: &str) -> Option<MariaDb> {
    available(test, "MariaDB", MariaDb::new())
}

/// For a test that needs a PostgreSQL but does not control it: the URL of a new database on a shared server.
pub fn postgres(test: &str) -> Option<String> {
    static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
    let server = SHARED.get_or_init(Postgres::new).as_ref().map_err(Clone::clone);
    available(test, "PostgreSQL", server).map(SqlServer::create_database)
}

/// For a test that reaches a PostgreSQL through a pooler: the URLs of a new database on a shared server, directly and
/// through a shared PgBouncer.
pub fn pooled_postgres(test: &str) -> Option<(String, String)> {
    static SHARED: OnceLock<Result<PgBouncer, String>> = OnceLock::new();
    let direct = postgres(test)?;
    let start = || PgBouncer::start(pgbouncer::address_of(&direct), &[]);
    let pooler = available(test, "PgBouncer", SHARED.get_or_init(start).as_ref().map_err(Clone::clone))?;
    let pooled = pooler.url(&direct);
    Some((direct, pooled))
}

/// A PgBouncer of one test in front of this URL's server, with further lines in its configuration.
pub fn own_pgbouncer(test: &str, direct: &str, settings: &[&str]) -> Option<PgBouncer> {
    available(test, "PgBouncer", PgBouncer::start(pgbouncer::address_of(direct), settings))
}

/// For a test that stops, kills, freezes or fills its PostgreSQL.
pub fn own_postgres(test: &str) -> Option<Postgres> {
    available(test, "PostgreSQL", Postgres::new())
}

fn jars() -> Result<Jars, String> {
    static FOUND: OnceLock<Result<Jars, String>> = OnceLock::new();
    FOUND.get_or_init(Jars::find).clone()
}

/// The service, or `None` after reporting that `test` is skipped. Fails the test if skipping is not allowed.
pub fn available<T>(test: &str, service: &str, found: Result<T, String>) -> Option<T> {
    let missing = match found {
        Ok(found) => return Some(found),
        Err(missing) => missing,
    };
    assert!(
        env::var(SERVICES).as_deref() != Ok("required"),
        "{test} needs {service}, and {SERVICES}=required: {missing}"
    );
    // Not `println!`: the output of a test is shown only if it fails, and this test is about to pass.
    writeln!(io::stdout(), "skipped: {test}: {missing}").expect("stdout");
    None
}
