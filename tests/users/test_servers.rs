//! Real servers: Apache Kafka, Redis, and a database, with daemons and consumers on them.

use std::time::Duration;

use super::crowd::CrowdResult;
use support::admin::Admin;
use support::kafka::{ClusterOptions, Kafka};
use support::pgbouncer::PgBouncer;
use support::process::Forebay;
use support::proxy::Proxy;
use support::redis::Redis;
use support::services::KafkaPermit;
use support::sql::SqlServer;
use support::{daemon, services, wait};

/// A killed consumer may leave reservations of applied commands. The daemon's maintenance removes them after a third of
/// their time to live of ten minutes.
const SEGMENT_RETENTION: Duration = Duration::from_secs(300);
/// Number of partitions of the commands' topic.
const PARTITIONS: usize = 4;
/// Key pattern of all reservations.
const MARKERS: &str = "user:pending:*";
const MIGRATED_WITHIN: Duration = Duration::from_secs(60);

/// All servers except the daemon, dedicated to the test.
pub struct TestServers {
    pub sql: Box<dyn SqlServer>,
    pub redis: Redis,
    pub kafka: Kafka,
    database: String,
    front: Option<ServerProxies>,
    pooler: Option<PgBouncer>,
    _place: KafkaPermit,
}

/// Proxies between the daemons and the servers, which can be interrupted.
pub struct ServerProxies {
    pub sql: Proxy,
    pub redis: Proxy,
    pub kafka: Proxy,
}

/// Kind of database server.
#[derive(Clone, Copy)]
pub enum DatabaseKind {
    MariaDb,
    Postgres,
}

impl TestServers {
    /// `None`: the test is skipped, with a message.
    pub fn new(test: &str, sql: DatabaseKind) -> Option<TestServers> {
        Self::with(test, sql, None)
    }

    /// Test servers with a proxy in front of each.
    pub fn with_front(test: &str, sql: DatabaseKind) -> Option<TestServers> {
        let front = ServerProxies { sql: Proxy::start(), redis: Proxy::start(), kafka: Proxy::start() };
        Self::with(test, sql, Some(front))
    }

    /// Test servers with PostgreSQL behind PgBouncer.
    pub fn behind_pooler(test: &str) -> Option<TestServers> {
        let mut stage = Self::with(test, DatabaseKind::Postgres, None)?;
        stage.pooler = Some(services::own_pgbouncer(test, &stage.database, &[])?);
        Some(stage)
    }

    fn with(test: &str, sql: DatabaseKind, front: Option<ServerProxies>) -> Option<TestServers> {
        let place = services::kafka(test)?;
        let redis = services::redis(test)?.start();
        let sql: Box<dyn SqlServer> = match sql {
            DatabaseKind::MariaDb => Box::new(services::own_mariadb(test)?),
            DatabaseKind::Postgres => Box::new(services::own_postgres(test)?),
        };
        let (kafka, direct) = match &front {
            None => {
                let kafka = place.start(ClusterOptions::single());
                let direct = kafka.bootstrap();
                (kafka, direct)
            }
            Some(front) => {
                let advertised = vec![front.kafka.address().to_owned()];
                let kafka = place.start(ClusterOptions::single().advertise(advertised));
                let direct = kafka.internal_bootstrap();
                (kafka, direct)
            }
        };
        let admin = Admin::new(&direct);
        for topic in ["user.commands.v1", "user.retry.v1", "user.dead.v1"] {
            admin.create_topic(topic, PARTITIONS, 1, &[]);
        }
        let database = sql.create_database();
        let stage = TestServers { database, sql, redis, kafka, front, pooler: None, _place: place };
        stage.forward();
        stage.migrate();
        Some(stage)
    }

    /// `forebay serve` without a consumer.
    pub fn daemon(&self) -> Forebay {
        self.on_parts(daemon::forebay(&self.bootstrap()))
            .set("consumer.enabled", false)
            .set("users.password_cost", 4)
            .set("drain.workers", 2)
    }

    /// `forebay serve` with a consumer.
    pub fn daemon_with_consumer(&self) -> Forebay {
        self.daemon().set("consumer.enabled", true)
    }

    /// `forebay consume`.
    pub fn consumer(&self) -> Forebay {
        let consumer = Forebay::new(daemon::binary()).args(&["consume"]);
        self.on_parts(consumer.set("kafka.brokers", self.bootstrap()))
    }

    /// Checks all results, and waits until no reservation is left.
    pub fn check(&self, outcome: &CrowdResult, forebay: &Forebay) {
        outcome.check(&mut forebay.http());
        let none = || self.redis.command(&["KEYS", MARKERS]).is_ok_and(|keys| keys.trim() == "*0");
        let gone = wait::poll(SEGMENT_RETENTION, || none().then_some(()));
        assert!(gone.is_some(), "reservations are left: {:#?}\n{}", self.markers(), forebay.log());
    }

    /// Each reservation: key, value, and remaining time to live in milliseconds.
    fn markers(&self) -> Vec<String> {
        let ask = |words: &[&str]| self.redis.command(words).unwrap_or_else(|error| error.to_string());
        let one = |key: &str| format!("{key}: {} {}", ask(&["GET", key]), ask(&["PTTL", key]));
        let keys = ask(&["KEYS", MARKERS]);
        keys.lines()
            .filter(|line| line.starts_with("user:"))
            .map(|key| one(key).replace("\r\n", " "))
            .collect()
    }

    /// Executes statements in the daemons' database.
    pub fn sql_in_database(&self, statements: &str) {
        self.sql.sql(self.database_parts().2, statements);
    }

    /// The proxies.
    pub fn front(&self) -> &ServerProxies {
        self.front.as_ref().expect("test servers with proxies")
    }

    fn forward(&self) {
        let Some(front) = &self.front else { return };
        front.kafka.forward_to(&self.kafka.broker(1).address());
        front.redis.forward_to(&self.redis.address());
        front.sql.forward_to(self.database_parts().1);
    }

    /// The URL in front of its address, the address, and the rest.
    fn database_parts(&self) -> (&str, &str, &str) {
        let (before, after) = self.database.split_once('@').expect("a URL with an account");
        let (address, name) = after.split_once('/').expect("a URL with a database");
        (before, address, name)
    }

    fn bootstrap(&self) -> String {
        self.front.as_ref().map_or_else(|| self.kafka.bootstrap(), |front| front.kafka.address().to_owned())
    }

    fn redis_url(&self) -> String {
        let behind = |front: &ServerProxies| format!("redis://{}", front.redis.address());
        self.front.as_ref().map_or_else(|| self.redis.url(), behind)
    }

    fn database_url(&self) -> String {
        if let Some(pooler) = &self.pooler {
            return pooler.url(&self.database);
        }
        let (before, _, name) = self.database_parts();
        let behind = |front: &ServerProxies| format!("{before}@{}/{name}", front.sql.address());
        self.front.as_ref().map_or_else(|| self.database.clone(), behind)
    }

    fn on_parts(&self, forebay: Forebay) -> Forebay {
        forebay
            .set("redis.url", self.redis_url())
            .set("database.url", self.database_url())
            .set("database.pooler", if self.pooler.is_some() { "transaction" } else { "none" })
            .set("consumer.retry_backoff_min", "50ms")
            .set("consumer.retry_backoff_max", "500ms")
    }

    fn migrate(&self) {
        let mut forebay = self.on_parts(Forebay::new(daemon::binary()).args(&["migrate"]));
        forebay.launch();
        let status = forebay.wait(MIGRATED_WITHIN);
        assert!(status.success(), "{}", forebay.log());
    }
}
