//! The user service's concrete parts: the database, the marker store, and the tasks around them.
//!
//! None of them need be there for the daemon to accept commands; an embedded database is brought up to date at start,
//! a server's by `forebay migrate`.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::db::Database;
use crate::db::DbError;
use crate::ingest::Ingest;
use crate::kv::Kv;
use crate::kv::KvError;
use crate::metrics::Metrics;
use crate::status::Statuses;
use crate::task::Task;
use crate::units::Timestamp;
use crate::users;
use crate::users::HashPool;
use crate::users::Keeper;
use crate::users::Profiles;
use crate::users::Users;
use crate::wal::Log;

use super::dependencies::Dependencies;

/// Markers and the second level of the cache of a daemon that is alone.
const EMBEDDED_STORE: &str = "markers";

/// Outcomes make what is delivered again harmless, so they stay longer than Kafka keeps commands (a week by default).
/// After them audit rows, which are never deleted, still say that a command was decided (`Database::decided`): rows of
/// `audit` must not be deleted before their outcomes are.
const KEEP_OUTCOMES: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longer than the clocks of daemons differ: who still takes a token for valid finds that its session was ended.
const KEEP_SESSIONS: Duration = Duration::from_secs(3600);
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Few enough not to be noticed, and more than are made in a minute at any rate a database holds for long.
const FORGET_AT_ONCE: u32 = 10_000;

/// What users are stored and found with; shared with the consumer.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) db: Database,
    pub(super) kv: Kv,
    pub(super) profiles: Profiles,
}

/// The running service.
pub(super) struct Service {
    pub(super) users: Users,
    // Dropped with the service: each ends at its next wait.
    _keeper: Keeper,
    _tasks: Vec<Task>,
}

impl Stores {
    /// Opens what is embedded and prepares connections to what is not; nobody need answer yet. None when what is
    /// embedded cannot be opened, on a full disk for example: commands are accepted and drained all the same.
    pub(super) async fn open(config: &Config, log: &Log, metrics: &Arc<Metrics>) -> Option<Self> {
        let db = database(config, metrics).await.inspect_err(|error| {
            tracing::error!(%error, "no database: users are not served; start again when it can be opened");
        });
        let kv = store(config, log, metrics).inspect_err(|error| {
            tracing::error!(%error, "no marker store: users are not served; start again when it can be opened");
        });
        let (db, kv) = (db.ok()?, kv.ok()?);
        let profiles = Profiles::new(&config.users, kv.clone(), db.clone(), metrics);
        Some(Self { db, kv, profiles })
    }
}

async fn database(config: &Config, metrics: &Arc<Metrics>) -> Result<Database, DbError> {
    let config = config.database();
    let db = Database::connect(&config, Arc::clone(metrics)).await?;
    if config.url.is_embedded() {
        db.migrate().await?;
    }
    Ok(db)
}

fn store(config: &Config, log: &Log, metrics: &Arc<Metrics>) -> Result<Kv, KvError> {
    if !config.redis.url.is_empty() {
        return Kv::redis(&config.redis, Arc::clone(metrics));
    }
    let dir = config.wal.dir.join(EMBEDDED_STORE);
    // Names, e-mail addresses and phone numbers are in it: the log's encryption at rest covers them too.
    let opened = match log.derived_key(EMBEDDED_STORE) {
        Some(secret) => Kv::sealed(&dir, &secret),
        None => Kv::embedded(&dir),
    };
    opened.map(|kv| kv.with_metrics(Arc::clone(metrics)))
}

/// Lets old outcomes and expired sessions go, in small steps. Consumers on other machines need not: the tables are
/// everybody's.
async fn forget_old(db: Database) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let now = Timestamp::now();
        let before = Timestamp(now.0.saturating_sub(KEEP_OUTCOMES.as_millis() as u64));
        forgotten("outcomes", db.forget_before(before, FORGET_AT_ONCE).await);
        let before = Timestamp(now.0.saturating_sub(KEEP_SESSIONS.as_millis() as u64));
        forgotten("sessions", db.forget_sessions(before, FORGET_AT_ONCE).await);
    }
}

fn forgotten(what: &'static str, rows: Result<u64, DbError>) {
    match rows {
        Ok(0) => {}
        Ok(rows) => tracing::info!(what, rows, "old rows were let go of"),
        Err(error) => tracing::debug!(what, %error, "old rows stay for now"),
    }
}

impl Service {
    /// Starts what keeps markers and caches true.
    pub(super) fn start(
        stores: &Stores,
        config: &Config,
        ingest: Ingest,
        statuses: &Statuses,
        hashing: HashPool,
        dependencies: &Arc<Dependencies>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let Stores { db, kv, profiles } = stores.clone();
        let users = Users::new(users::Parts {
            config: config.users.clone(),
            db,
            kv,
            ingest,
            statuses: statuses.clone(),
            hashing,
            profiles: profiles.clone(),
            metrics: Arc::clone(metrics),
            slow_step: config.telemetry.slow_step.0,
        });
        let watch = dependencies.watch(Some(stores.db.clone()), stores.kv.clone());
        let mut tasks = vec![profiles.listen(), watch];
        tasks.extend(statuses.watch_outcomes());
        if config.users.contact_warmup {
            let users = users.clone();
            tasks.push(Task::spawn("users-warm-up", async move { users.warm_up().await }));
        }
        let keeper = users.keep();
        tasks.push(Task::spawn("users-forget", forget_old(stores.db.clone())));
        Self { users, _keeper: keeper, _tasks: tasks }
    }
}
