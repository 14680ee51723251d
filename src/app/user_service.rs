//! Builds the user service: the database, the reservation store, and their background tasks.
//!
//! The daemon accepts commands even while these are unavailable. An embedded database is migrated at start; a database
//! server is migrated by `forebay migrate`.

use std::sync::Arc;

use crate::config::Config;
use crate::db::{Database, DbError};
use crate::ingest::Ingest;
use crate::kv::{Kv, KvError};
use crate::status::Statuses;
use crate::task::Task;
use crate::units::Timestamp;
use crate::users::{HashPool, ProfileCache, ReservationMaintenance, Users};
use crate::wal::Log;
use crate::{db, kv, users};

use super::dependency_checks::DependencyChecks;
use super::wiring::Wiring;
use super::{Failure, previous_start, retention};

/// Directory of the embedded store: reservations and the second cache level of a daemon that runs alone.
const EMBEDDED_STORE: &str = "markers";

/// Stores of the user service. Shared with the consumer.
#[derive(Clone)]
pub(super) struct UserStores {
    pub(super) db: Database,
    pub(super) kv: Kv,
    pub(super) profiles: ProfileCache,
    metrics: Arc<users::Metrics>,
}

/// The running service.
pub(super) struct RunningUserService {
    pub(super) users: Users,
    // Dropping these stops each at its next await point.
    _maintenance: ReservationMaintenance,
    _tasks: Vec<Task>,
}

impl UserStores {
    /// Opens embedded stores, and prepares connections to servers, which need not be available yet. The inner error
    /// means that an embedded store cannot be opened, for example on a full disk. Commands are accepted and drained all
    /// the same.
    pub(super) async fn open(wiring: &Wiring<'_>, log: &Log) -> Result<Result<Self, String>, Failure> {
        let config = wiring.config;
        let metrics = wiring.metrics(users::Metrics::register)?;
        let (db_metrics, kv_metrics) =
            (wiring.metrics(db::Metrics::register)?, wiring.metrics(kv::Metrics::register)?);
        let db = database(config, &db_metrics).await.map_err(|error| format!("database: {error}"));
        let kv = store(config, log, kv_metrics).map_err(|error| format!("reservation store: {error}"));
        Ok(db.and_then(|db| Ok((db, kv?))).map(|(db, kv)| {
            let profiles = ProfileCache::new(&config.users, kv.clone(), db.clone(), &metrics);
            Self { db, kv, profiles, metrics }
        }))
    }

    /// Returns when the reservations and limits of a daemon that runs alone are on disk.
    pub(super) async fn flush(&self) {
        if let Err(error) = self.kv.flush().await {
            tracing::warn!(
                event = "kv.flush_failed",
                %error,
                "reservations and limits of the last 500 ms may be lost"
            );
        }
    }
}

/// Store in which a daemon without users counts limits: Redis, shared with other daemons. `None` without Redis.
pub(super) fn shared_store(wiring: &Wiring<'_>) -> Result<Option<Kv>, Failure> {
    let config = &wiring.config.redis;
    if config.url.is_empty() {
        return Ok(None);
    }
    let store = Kv::redis(config, wiring.metrics(kv::Metrics::register)?);
    store.map(Some).map_err(|error| Failure::Client(format!("[redis]: {error}")))
}

async fn database(config: &Config, metrics: &db::Metrics) -> Result<Database, DbError> {
    let config = config.database();
    let db = Database::connect(&config, metrics).await?;
    if config.url.is_embedded() {
        db.migrate().await?;
    }
    Ok(db)
}

fn store(config: &Config, log: &Log, metrics: Arc<kv::Metrics>) -> Result<Kv, KvError> {
    if !config.redis.url.is_empty() {
        return Kv::redis(&config.redis, metrics);
    }
    let dir = config.wal.dir.join(EMBEDDED_STORE);
    // The store holds names, e-mail addresses and phone numbers, so the log's encryption at rest covers it, too.
    let opened = match log.derived_key(EMBEDDED_STORE) {
        Some(secret) => Kv::encrypted(&dir, &secret),
        None => Kv::embedded(&dir),
    };
    opened.map(|kv| kv.with_metrics(metrics))
}

impl RunningUserService {
    /// Starts the maintenance of reservations and caches.
    pub(super) fn start(
        wiring: &Wiring<'_>,
        log: &Arc<Log>,
        stores: &UserStores,
        ingest: Ingest,
        statuses: &Statuses,
        hashing: HashPool,
        dependencies: &Arc<DependencyChecks>,
    ) -> Self {
        let config = wiring.config;
        let UserStores { db, kv, profiles, metrics } = stores.clone();
        let users = Users::new(users::UsersParts {
            config: config.users.clone(),
            db,
            kv,
            ingest,
            statuses: statuses.clone(),
            hashing,
            profiles: profiles.clone(),
            metrics,
            slow_step: config.telemetry.slow_step.0,
        });
        let watch = dependencies.watch(Some(stores.db.clone()), stores.kv.clone());
        let mut tasks = vec![profiles.listen(), profiles.notices().retry_unpublished(), watch];
        tasks.extend(statuses.watch_outcomes());
        tasks.push(users.unapplied().track(statuses.clone()));
        let (unapplied, log) = (users.unapplied(), Arc::clone(log));
        tasks.push(Task::spawn("users-earlier", async move {
            let find = move || previous_start::last_user_command(&log, Timestamp::now());
            let found = tokio::task::spawn_blocking(find).await.map_err(|error| error.to_string());
            match found.and_then(|found| found.map_err(|error| error.to_string())) {
                Ok(last) => last.into_iter().for_each(|id| unapplied.on_accepted_earlier(id)),
                // Readers of the log report the error. Without this command, the next one is followed.
                Err(error) => tracing::debug!(error, "the last user command of an earlier run is unknown"),
            }
        }));
        if config.users.contact_warmup {
            let users = users.clone();
            tasks.push(Task::spawn("users-warm-up", async move { users.warm_up().await }));
        }
        let maintenance = users.start_maintenance();
        let retention = config.database.retention();
        tasks.push(Task::spawn("users-retention", retention::delete_expired(stores.db.clone(), retention)));
        Self { users, _maintenance: maintenance, _tasks: tasks }
    }
}
