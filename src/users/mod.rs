//! The user service: checks and accepts registrations, changes and deletions of users, and reads users.
//!
//! Writes become commands in the log. Reads come from the database through a cache. The checks reject most invalid
//! commands early. The consumer makes the final decision, and the database's unique indexes are the final authority.
//!
//! - `field`, `nickname`, `phone`, `password`, `form`: validation and normal forms of requests; `unicode`: the
//!   character properties that they need;
//! - `reservations`: which command was first; `admission`: all checks in order; `concurrency_limiter`: concurrent
//!   checks; `clock_skew`: whether a command would be superseded; `commands`: the commands; `hash`: password hashing;
//! - `profile`, `profile_cache`, `generations`, `page`: reads; `change_notices`: notices of changes to other daemons;
//! - `unapplied_monitor`: whether any consumer applies the commands;
//! - `cluster_secret`: the secret shared by the daemons; `deferred_hasher`: hashing after the acknowledgement.

mod admission;
mod change_notices;
mod clock_skew;
mod cluster_secret;
mod commands;
mod concurrency_limiter;
mod config;
mod deferred_hasher;
mod error;
mod field;
mod form;
mod generations;
pub mod hash;
mod metrics;
mod nickname;
mod page;
mod password;
mod phone;
mod profile;
mod profile_cache;
mod reservations;
mod unapplied_monitor;
mod unicode;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::command::{KeyedDigest, Owner, Secret, UserKind, UserValue};
use crate::db::{Database, UserRow};
use crate::ingest::{Ingest, SubmitError};
use crate::kv::Kv;
use crate::status::Statuses;
use crate::task::TaskSet;
use crate::telemetry::{StepTimer, StepTimers};

pub use change_notices::{ALL_USERS, CHANNEL, ChangeNotices};
pub use commands::RequestContext;
pub use config::{Config, OnDatabaseFailure, OnMarkerFailure, PasswordHashing};
pub use deferred_hasher::{DeferredHashError, DeferredHasher};
pub use error::UserError;
pub use field::{FieldError, NAME_RULE, name as normal_name};
pub use form::{
    LoginForm, NewUser, PasswordChange, UserChange, change, credentials, new_user, password_change,
    refresh_token,
};
pub use hash::{HashPool, HashWorkers, hash_now};
pub use metrics::Metrics;
pub use nickname::RULE as NICKNAME_RULE;
pub use page::limit as page_limit;
pub use password::{RULE as PASSWORD_RULE, check as check_password, normalized as normal_password};
pub use phone::{PhoneRegion, RULE as PHONE_RULE};
pub use profile::Profile;
pub use profile_cache::ProfileCache;
pub use reservations::ReservationMaintenance;
pub use unapplied_monitor::UnappliedMonitor;

use cluster_secret::ClusterSecret;
use concurrency_limiter::ConcurrencyLimiter;
use reservations::Reservations;

/// Maximum time a request waits for its password to be hashed. A request whose estimate exceeds it is rejected at once.
const HASH_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of concurrent database queries before acceptance: the default number of connections.
const MAX_QUERIES: usize = 16;

/// The dependencies and settings of the user service.
pub struct UsersParts {
    /// `[users]`.
    pub config: Config,
    /// Database of the users.
    pub db: Database,
    /// Store of the reservations and of the shared cache.
    pub kv: Kv,
    /// Submits commands to the log.
    pub ingest: Ingest,
    /// The states of commands.
    pub statuses: Statuses,
    /// The pool that hashes passwords.
    pub hashing: HashPool,
    /// The profile cache.
    pub profiles: ProfileCache,
    /// Metrics of the user service.
    pub metrics: Arc<Metrics>,
    /// A longer step is logged.
    pub slow_step: Duration,
}

/// The user service. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    config: Arc<Config>,
    db: Database,
    ingest: Ingest,
    hashing: HashPool,
    profiles: ProfileCache,
    reservations: Arc<Reservations>,
    concurrency: Arc<ConcurrencyLimiter>,
    steps: StepTimers,
    kinds: [Arc<str>; 4],
    json: Arc<str>,
    secret: Arc<ClusterSecret>,
    /// Permits of database queries in progress, including those whose caller gave up.
    query_permits: Arc<Semaphore>,
    /// Tasks that complete even if their caller gives up.
    tasks: Arc<TaskSet>,
    /// Commands whose outcome is awaited, to detect that no consumer works.
    unapplied: Arc<UnappliedMonitor>,
}

/// A page of the list of users.
#[derive(Debug)]
pub struct Page {
    /// The users, ordered by name.
    pub users: Vec<Profile>,
    /// Cursor of the next page; `None` after the last page.
    pub next: Option<String>,
}

impl Users {
    /// The commands whose outcome is awaited, to detect that no consumer works.
    pub fn unapplied(&self) -> Arc<UnappliedMonitor> {
        Arc::clone(&self.unapplied)
    }

    /// Constructs the service. Other systems need not be available yet.
    pub fn new(parts: UsersParts) -> Self {
        let UsersParts { config, db, kv, ingest, statuses, hashing, profiles, metrics, slow_step } = parts;
        phone::load();
        let reservations = Reservations::new(&config, kv, db.clone(), ingest.clone(), statuses, &metrics);
        Self {
            config: Arc::new(config),
            db,
            ingest,
            hashing,
            profiles,
            reservations: Arc::new(reservations),
            concurrency: ConcurrencyLimiter::new(metrics.checks_hit.clone()),
            steps: StepTimers::new(&metrics.step_seconds, slow_step),
            kinds: UserKind::ALL.map(|kind| Arc::from(kind.as_str())),
            json: Arc::from("application/json"),
            secret: Arc::default(),
            query_permits: Arc::new(Semaphore::new(MAX_QUERIES)),
            tasks: Arc::default(),
            unapplied: Arc::default(),
        }
    }

    /// Country whose phone numbers need no country code.
    pub fn phone_region(&self) -> Option<PhoneRegion> {
        self.config.phone_region
    }

    /// A user as visible to `caller`, at most as old as the cache's time to live.
    pub async fn profile(&self, name: &str, caller: Option<Owner>) -> Result<Arc<Profile>, UserError> {
        let _step = self.step("users.read");
        let may_see = |registered_at| caller.as_ref().is_none_or(|caller| caller.may_be(name, registered_at));
        let cached = self.profiles.get(name).await?.ok_or(UserError::NotFound)?;
        if may_see(cached.created_at) {
            return Ok(cached);
        }
        // Either the cache has an earlier user of the name, or the caller is that earlier user.
        let row = self.profiles.fetch(name).await?.ok_or(UserError::NotFound)?;
        match may_see(row.created_at) {
            true => Ok(Arc::new(row.into())),
            false => Err(UserError::FormerUser),
        }
    }

    /// Reads the user from the database again, so that a client that waited for a change sees it.
    pub async fn refresh(&self, name: &str) {
        if let Err(error) = self.profiles.fetch(name).await {
            tracing::debug!(%error, "cached user may be out of date");
        }
    }

    /// A page of the list, starting at `cursor`. `None`: the cursor is invalid.
    pub async fn page(&self, cursor: Option<&str>, limit: u32) -> Result<Option<Page>, UserError> {
        let _step = self.step("users.list");
        let secret = self.secret.get().await.ok_or(UserError::Database)?;
        let after = match cursor.map(|cursor| page::decode_cursor(&secret, cursor)) {
            Some(None) => return Ok(None),
            after => after.flatten(),
        };
        let rows = self.db.users_after(after.as_deref(), limit).await?;
        let full = rows.len() >= limit as usize;
        let next = rows.last().filter(|_| full).map(|last| page::cursor(&secret, &last.name));
        Ok(Some(Page { users: rows.into_iter().map(Profile::from).collect(), next }))
    }

    /// Fills the cache in the background, up to its size.
    pub async fn warm_up(&self) {
        let mut after: Option<String> = None;
        let mut left = self.config.cache_size;
        while left > 0 {
            let limit = left.min(u64::from(page::MAX_PAGE)) as u32;
            let before = self.profiles.generations();
            let Ok(rows) = self.db.users_after(after.as_deref(), limit).await else { return };
            let Some(last) = rows.last() else { return };
            after = Some(last.name.clone());
            left -= u64::from(limit);
            self.profiles.insert_rows(&before, rows).await;
        }
    }

    /// Hashes the password in the value, or leaves it for later; returns whether hashing is deferred.
    async fn hash_or_defer(&self, value: &mut UserValue, client: IpAddr) -> Result<bool, UserError> {
        if self.config.password_hashing == PasswordHashing::Deferred {
            return Ok(true);
        }
        let Some(password) = value.password.take() else { return Ok(false) };
        let _step = self.step("users.hash");
        let salt = hash::random_salt().map_err(|_| SubmitError::Closing)?;
        let deadline = Instant::now() + HASH_TIMEOUT;
        value.password_hash = Some(self.hashing.hash(password, salt, client, deadline).await?);
        Ok(false)
    }

    /// Compares a password with the user's stored hash.
    async fn verify(&self, row: Option<UserRow>, password: Secret, client: IpAddr) -> Result<(), UserError> {
        let row = row.ok_or(UserError::NotFound)?;
        let _step = self.step("users.verify");
        let deadline = Instant::now() + HASH_TIMEOUT;
        match self.hashing.verify(password, &row.password_hash, client, deadline).await? {
            true => Ok(()),
            false => Err(UserError::WrongPassword),
        }
    }

    /// A keyed digest that distinguishes requests. Without the secret, passwords cannot be tested against it.
    async fn digest(&self, parts: &[&[u8]]) -> [u8; 16] {
        // Without the database, only this daemon recognises repetitions of its own requests.
        let secret = self.secret.get().await.unwrap_or(*self.ingest.secret());
        KeyedDigest::new(&secret).of(parts)
    }

    fn degrades_without_markers(&self) -> bool {
        self.config.on_marker_failure == OnMarkerFailure::Degrade
    }

    fn accepts_without_database(&self) -> bool {
        self.config.on_database_failure == OnDatabaseFailure::Accept
    }

    fn step(&self, name: &'static str) -> StepTimer {
        self.steps.begin(name)
    }
}
