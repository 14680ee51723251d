//! Kafka and a database with its schema, and consumers on both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::command::{CommandId, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use forebay::consumer::{Consumer, ConsumerParts, Noop, PostCommit};
use forebay::db::{Database, OutcomeRow, UserRow};
use forebay::kafka::Brokers;
use forebay::kv::Kv;
use forebay::metrics::Registry;
use forebay::task::FatalSignal;
use forebay::telemetry::trace::Tracer;
use forebay::units::Span;
use forebay::{consumer, db, kafka};
use tokio::runtime::Runtime;

use support::admin::Admin;
use support::daemon::LONG;
use support::kafka::{ClusterOptions, Kafka};
use support::process::Forebay;
use support::services::KafkaPermit;
use support::{daemon, services, wait};

/// Number of partitions of the commands' topic, so that consumers share work.
const PARTITIONS: usize = 4;

/// A dedicated broker, because the topics' names are fixed, and a dedicated database.
pub struct TestServers {
    pub runtime: Runtime,
    pub db: Database,
    pub url: String,
    pub kafka: Kafka,
    metrics: db::Metrics,
    _place: KafkaPermit,
}

/// Runs a test once per available database server.
pub fn for_each_database(test: &str, run: impl Fn(&TestServers)) {
    for url in [services::mariadb(test), services::postgres(test)].into_iter().flatten() {
        if let Some(stage) = TestServers::new(test, &url) {
            run(&stage);
        }
    }
}

impl TestServers {
    pub fn new(test: &str, url: &str) -> Option<TestServers> {
        let place = services::kafka(test)?;
        let kafka = place.start(ClusterOptions::single());
        let admin = Admin::new(&kafka.bootstrap());
        for topic in [USER_TOPIC, USER_RETRY_TOPIC, USER_DEAD_TOPIC] {
            admin.create_topic(topic, PARTITIONS, 1, &[]);
        }
        let runtime = Runtime::new().unwrap();
        let metrics = db::Metrics::register(&Registry::new().unwrap()).unwrap();
        let db = runtime.block_on(async {
            let mut config = db::Config { url: url.into(), ..db::Config::default() };
            // The machine may be busy, and tests of outages wait until the database is available again.
            config.acquire_timeout = Span::secs(5);
            let db = Database::connect(&config, &metrics).await.unwrap();
            db.migrate().await.unwrap();
            db
        });
        Some(TestServers { runtime, db, url: url.to_owned(), kafka, metrics, _place: place })
    }

    /// Settings for tests: short retries, few attempts.
    pub fn config() -> consumer::Config {
        consumer::Config {
            retry_attempts: 2,
            retry_backoff_min: Span::millis(50),
            retry_backoff_max: Span::millis(500),
            ..consumer::Config::default()
        }
    }

    pub fn parts(&self, config: consumer::Config) -> ConsumerParts {
        ConsumerParts {
            db: self.db.clone(),
            kv: None,
            post_commit: Arc::new(Noop),
            config,
            kafka: kafka::Config {
                brokers: Brokers::List(self.kafka.bootstrap()),
                ..kafka::Config::default()
            },
            bootstrap: self.kafka.bootstrap(),
            metrics: Arc::new(consumer::Metrics::register(&Registry::new().unwrap()).unwrap()),
            runtime: self.runtime.handle().clone(),
            slow_step: Duration::from_secs(5),
            tracer: Tracer::default(),
        }
    }

    /// Starts a consumer in this process.
    pub fn start(&self, config: consumer::Config) -> RunningConsumer {
        RunningConsumer::new(self.parts(config))
    }

    /// Starts a consumer with these parts.
    pub fn start_parts(&self, parts: ConsumerParts) -> RunningConsumer {
        RunningConsumer::new(parts)
    }

    pub fn start_with(&self, kv: Kv, after: Arc<dyn PostCommit>) -> RunningConsumer {
        RunningConsumer::new(ConsumerParts {
            kv: Some(kv),
            post_commit: after,
            ..self.parts(TestServers::config())
        })
    }

    /// A `forebay consume` process, not yet started.
    pub fn process(&self) -> Forebay {
        Forebay::new(daemon::binary())
            .args(&["consume"])
            .set("kafka.brokers", self.kafka.bootstrap())
            .set("database.url", self.url.as_str())
            .set("database.acquire_timeout", "5s")
            .set("consumer.retry_attempts", 2)
            .set("consumer.retry_backoff_min", "50ms")
            .set("consumer.retry_backoff_max", "500ms")
    }

    /// Number of transactions committed to the database so far.
    pub fn transactions(&self) -> u64 {
        self.metrics.query_seconds.with_label_values(&["commit"]).get_sample_count()
    }

    /// All users, by name.
    pub fn users(&self) -> BTreeMap<String, UserRow> {
        self.runtime.block_on(async {
            let mut all = BTreeMap::new();
            let mut after: Option<String> = None;
            loop {
                let page = self.db.users_after(after.as_deref(), 1000).await.expect("the database answers");
                let Some(last) = page.last() else { return all };
                after = Some(last.name.clone());
                all.extend(page.into_iter().map(|row| (row.name.clone(), row)));
            }
        })
    }

    /// The existing outcomes, by id. `None`: the database is unavailable.
    pub fn try_outcomes(&self, ids: &[CommandId]) -> Option<BTreeMap<String, OutcomeRow>> {
        let ids: Vec<String> = ids.iter().map(CommandId::to_string).collect();
        self.runtime.block_on(async {
            let mut all = BTreeMap::new();
            for ids in ids.chunks(500) {
                let rows = self.db.outcomes(ids).await.ok()?;
                all.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
            }
            Some(all)
        })
    }

    /// Waits until each of these commands has an outcome.
    pub fn await_outcomes(&self, ids: &[CommandId]) -> BTreeMap<String, OutcomeRow> {
        let mut distinct = ids.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut last = 0;
        let found = wait::poll(LONG, || {
            let outcomes = self.try_outcomes(&distinct)?;
            last = outcomes.len();
            (last == distinct.len()).then_some(outcomes)
        });
        found.unwrap_or_else(|| panic!("{last} of {} outcomes", distinct.len()))
    }

    /// Waits until `count` of them have an outcome.
    pub fn await_some(&self, ids: &[CommandId], count: usize) {
        wait::until_true(&format!("{count} outcomes"), LONG, || {
            self.try_outcomes(ids).is_some_and(|outcomes| outcomes.len() >= count)
        });
    }
}

/// A consumer in this process; stopped when dropped.
pub struct RunningConsumer {
    consumer: Option<Consumer>,
    pub metrics: Arc<consumer::Metrics>,
}

impl RunningConsumer {
    fn new(parts: ConsumerParts) -> RunningConsumer {
        let metrics = Arc::clone(&parts.metrics);
        RunningConsumer { consumer: Some(Consumer::start(parts, FatalSignal::default()).unwrap()), metrics }
    }
}

impl Drop for RunningConsumer {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.stop(Instant::now() + LONG);
        }
    }
}
