//! The user service: which registrations, changes and deletions may enter the log, and what callers see of users.
//!
//! Writes become commands in the log. Reads come from the database through a cache. The checks here spare users a late
//! refusal. The consumer decides for good, and the database's unique indexes are the final authority.
//!
//! - `field`, `nickname`, `phone`, `password`, `form`: what clients send, made into what may be logged; `unicode`: the
//!   properties of characters they need;
//! - `reservations`: which command asked first; `admission`: all checks in their order; `concurrency_limiter`: how many at a time;
//!   `clock_skew`: whether a command would be superseded; `commands`: the commands; `hash`: passwords;
//! - `profile`, `profile_cache`, `generations`, `page`: reading; `change_notices`: telling other daemons of changes;
//! - `unapplied_monitor`: whether any consumer applies what is sent;
//! - `cluster_secret`: the secret that daemons share; `deferred_hasher`: passwords that are hashed after the answer.

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

/// How long a request may wait for its password to be hashed; longer ones are refused at once.
const HASH_TIMEOUT: Duration = Duration::from_secs(5);

/// Questions to the database at a time, before a command is accepted: as many as it has connections by default.
const MAX_QUERIES: usize = 16;

/// What the service is made of.
pub struct UsersParts {
    /// `[users]`.
    pub config: Config,
    /// Where users are.
    pub db: Database,
    /// Where markers are, and the shared level of the cache.
    pub kv: Kv,
    /// The way into the log.
    pub ingest: Ingest,
    /// What became of commands.
    pub statuses: Statuses,
    /// Hashes passwords.
    pub hashing: HashPool,
    /// Profiles.
    pub profiles: ProfileCache,
    /// Where steps are timed.
    pub metrics: Arc<Metrics>,
    /// A step that takes longer is logged.
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
    /// Questions under way to the database, answered in time or not.
    query_permits: Arc<Semaphore>,
    /// What comes to its end whoever waits.
    tasks: Arc<TaskSet>,
    /// Commands whose outcome is awaited, to see that some consumer works.
    unapplied: Arc<UnappliedMonitor>,
}

/// A page of the list of users.
#[derive(Debug)]
pub struct Page {
    /// In the order of their names.
    pub users: Vec<Profile>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

impl Users {
    /// The commands whose outcome is awaited, to see that some consumer works.
    pub fn unapplied(&self) -> Arc<UnappliedMonitor> {
        Arc::clone(&self.unapplied)
    }

    /// Ties the parts together. Nobody need be there yet.
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

    /// Whose phone numbers may be written without a country code.
    pub fn phone_region(&self) -> Option<PhoneRegion> {
        self.config.phone_region
    }

    /// What `caller` sees of a user, as fresh as the cache's time to live.
    pub async fn profile(&self, name: &str, caller: Option<Owner>) -> Result<Arc<Profile>, UserError> {
        let _step = self.step("users.read");
        let may_see = |registered_at| caller.as_ref().is_none_or(|caller| caller.may_be(name, registered_at));
        let cached = self.profiles.get(name).await?.ok_or(UserError::NotFound)?;
        if may_see(cached.created_at) {
            return Ok(cached);
        }
        // Either the cache has the former user of the name, or the caller is that user.
        let row = self.profiles.fetch(name).await?.ok_or(UserError::NotFound)?;
        match may_see(row.created_at) {
            true => Ok(Arc::new(row.into())),
            false => Err(UserError::FormerUser),
        }
    }

    /// Takes what the database says now for the truth: who waited for a change sees it.
    pub async fn refresh(&self, name: &str) {
        if let Err(error) = self.profiles.fetch(name).await {
            tracing::debug!(%error, "cached user may be out of date");
        }
    }

    /// A page of the list, from `cursor` on. `None`: the cursor is none of ours.
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

    /// Fills the cache in the background, as far as it reaches.
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

    /// Hashes the password in the value now, or leaves it there for later; says whether it waits.
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

    /// Compares a password with the user's own.
    async fn verify(&self, row: Option<UserRow>, password: Secret, client: IpAddr) -> Result<(), UserError> {
        let row = row.ok_or(UserError::NotFound)?;
        let _step = self.step("users.verify");
        let deadline = Instant::now() + HASH_TIMEOUT;
        match self.hashing.verify(password, &row.password_hash, client, deadline).await? {
            true => Ok(()),
            false => Err(UserError::WrongPassword),
        }
    }

    /// A digest that tells two requests apart and nobody can try passwords against without the secret.
    async fn digest(&self, parts: &[&[u8]]) -> [u8; 16] {
        // Without the database only this daemon knows its own repetitions again.
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
