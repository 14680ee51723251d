//! The user service's concrete parts: the database, the marker store, and the tasks around them.
//!
//! None of them need be there for the daemon to accept commands; an embedded database is brought up to date at start,
//! a server's by `forebay migrate`.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff;
use crate::config::Config;
use crate::db::Database;
use crate::db::DbError;
use crate::db::Pass;
use crate::db::Retention;
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

/// Between two passes over expired rows.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long a pass may take. Where that is not enough the next one begins at once: what has expired meanwhile then has
/// its turn in every table, and metrics show that the database does not keep up.
const PASS_WITHIN: Duration = Duration::from_secs(60);

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

/// Deletes rows as they expire. Consumers on other machines need not: the tables are everybody's. Several daemons come by
/// at different times.
async fn delete_expired(db: Database, retention: Retention) {
    let mut cut_short = false;
    loop {
        if !cut_short {
            tokio::time::sleep(EXPIRE_EVERY.mul_f64(0.5 + backoff::spread())).await;
        }
        let pass = db.delete_expired(&retention, Timestamp::now(), PASS_WITHIN).await;
        cut_short = pass.cut_short;
        report(&pass);
    }
}

fn report(pass: &Pass) {
    let rows = pass.deleted;
    if rows > 0 {
        tracing::info!(event = "db.expired_deleted", rows, "expired rows were deleted");
    }
    if pass.cut_short {
        tracing::warn!(event = "db.retention_behind", "expired rows are left: the next pass begins at once");
    }
    match &pass.failed {
        None => {}
        // That the database is away is said elsewhere.
        Some((table, error @ (DbError::Away(_) | DbError::Open))) => {
            tracing::debug!(event = "db.retention_failed", table, %error, "expired rows stay for now");
        }
        Some((table, error)) => {
            tracing::warn!(event = "db.retention_failed", table, %error, "expired rows stay: may the account delete from this table?");
        }
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
        let mut tasks = vec![profiles.listen(), profiles.notices().repeat(), watch];
        tasks.extend(statuses.watch_outcomes());
        if config.users.contact_warmup {
            let users = users.clone();
            tasks.push(Task::spawn("users-warm-up", async move { users.warm_up().await }));
        }
        let keeper = users.keep();
        let retention = config.database.retention();
        tasks.push(Task::spawn("users-retention", delete_expired(stores.db.clone(), retention)));
        Self { users, _keeper: keeper, _tasks: tasks }
    }
}
