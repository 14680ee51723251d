//! Profiles in two levels: this process's memory, in front of the store that daemons share, in front of the database.
//!
//! One load a miss, whoever asks meanwhile. What does not exist is remembered too, for a short time. Times to live are
//! spread. A reader fills the shared level only where nothing stands, and the consumer always writes what it applied:
//! so a reader that was slow cannot put an old row over a new one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use moka::Expiry;
use moka::future::Cache;
use prometheus::IntCounter;

use super::Config;
use super::Profile;
use crate::backoff;
use crate::db::Database;
use crate::db::DbError;
use crate::db::UserRow;
use crate::kv::Event;
use crate::kv::Kv;
use crate::kv::KvError;
use crate::metrics::Metrics;
use crate::task::Task;

/// Over which daemons tell one another about whom something has changed: names, with a blank between them.
pub const CHANNEL: &str = "forebay:users";
/// How long a name that does not exist is remembered: a registration elsewhere may be applied at any time.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// Times to live are spread by up to a tenth, so that what came together does not go together.
const SPREAD: f64 = 0.1;
/// What stands in the shared level for a name that does not exist.
const NOBODY: &[u8] = b"null";

/// Somebody, or nobody of that name.
type Known = Option<Arc<Profile>>;

/// The two levels. Cheap to clone.
#[derive(Clone)]
pub struct Profiles {
    local: Cache<String, Known>,
    kv: Kv,
    db: Database,
    ttl: Duration,
    /// Grows with everything that is forgotten.
    forgotten: Arc<AtomicU64>,
    hits: [IntCounter; 2],
    misses: [IntCounter; 2],
}

impl Profiles {
    /// Empty.
    pub fn new(config: &Config, kv: Kv, db: Database, metrics: &Metrics) -> Self {
        let ttl = config.cache_ttl.0;
        let local = Cache::builder().max_capacity(config.cache_size).expire_after(Spread(ttl)).build();
        let levels = ["users_local", "users_shared"];
        let hits = levels.map(|level| metrics.cache_hits.with_label_values(&[level]));
        let misses = levels.map(|level| metrics.cache_misses.with_label_values(&[level]));
        Self { local, kv, db, ttl, forgotten: Arc::default(), hits, misses }
    }

    /// The profile of a name, as fresh as the time to live.
    pub async fn get(&self, name: &str) -> Result<Known, DbError> {
        if let Some(known) = self.local.get(name).await {
            self.hits[0].inc();
            return Ok(known);
        }
        self.misses[0].inc();
        let before = self.forgotten.load(Ordering::SeqCst);
        let loaded = self.local.try_get_with(name.to_owned(), self.load(name)).await;
        if self.forgotten.load(Ordering::SeqCst) != before {
            // What was loaded may be what was to be forgotten.
            self.local.invalidate(name).await;
        }
        loaded.map_err(|error: Arc<DbError>| DbError::clone(&error))
    }

    /// What the database says now; both levels know it afterwards.
    pub async fn fetch(&self, name: &str) -> Result<Option<UserRow>, DbError> {
        let row = self.db.user(name).await?;
        let known = row.clone().map(|row| Arc::new(Profile::from(row)));
        self.local.insert(name.to_owned(), known).await;
        Ok(row)
    }

    /// Takes over what was applied: this process forgets what it had, whether the shared level answers or not; then the
    /// shared level has the new rows, and every daemon forgets what it had.
    pub async fn applied(&self, changed: &[(String, Option<UserRow>)]) -> Result<(), KvError> {
        self.forget(changed.iter().map(|(name, _)| name.as_str())).await;
        let entries: Vec<_> = changed
            .iter()
            .map(|(name, row)| {
                let known = row.clone().map(|row| Arc::new(Profile::from(row)));
                (key(name), encoded(&known), self.time_to_live(&known))
            })
            .collect();
        let stored = self.kv.set_all(&entries).await;
        // After the shared level once more: somebody here may have taken the old one from there meanwhile.
        self.forget(changed.iter().map(|(name, _)| name.as_str())).await;
        let names: Vec<&str> = changed.iter().map(|(name, _)| name.as_str()).collect();
        // Also where the shared level failed: what others remember of logins and tokens is not taken from there.
        let published = self.kv.publish(CHANNEL, &names.join(" ")).await;
        stored.and(published)
    }

    /// Puts profiles into memory that were read for another reason.
    pub async fn warm(&self, rows: Vec<UserRow>) {
        for row in rows {
            self.local.insert(row.name.clone(), Some(Arc::new(row.into()))).await;
        }
    }

    /// Listens to what other daemons have changed, for as long as the task is held.
    pub fn listen(&self) -> Task {
        let (this, mut subscription) = (self.clone(), self.kv.subscribe(CHANNEL));
        Task::spawn("users-cache", async move {
            loop {
                match subscription.next().await {
                    Event::Message(names) => this.forget(names.split(' ')).await,
                    // What was said meanwhile was not heard.
                    Event::Lapsed => {
                        this.forgotten.fetch_add(1, Ordering::SeqCst);
                        this.local.invalidate_all();
                    }
                }
            }
        })
    }

    async fn forget(&self, names: impl Iterator<Item = &str>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        for name in names {
            self.local.invalidate(name).await;
        }
    }

    async fn load(&self, name: &str) -> Result<Known, DbError> {
        // A store that is away makes the cache smaller, not the answer wrong.
        if let Some(known) = self.kv.get(&key(name)).await.ok().flatten().and_then(|value| decoded(&value)) {
            self.hits[1].inc();
            return Ok(known);
        }
        self.misses[1].inc();
        let known = self.db.user(name).await?.map(|row| Arc::new(Profile::from(row)));
        let filled = self.kv.set_if_absent(&key(name), &encoded(&known), self.time_to_live(&known)).await;
        if let Err(error) = filled {
            tracing::debug!(%error, "the shared cache was not filled");
        }
        Ok(known)
    }

    fn time_to_live(&self, known: &Known) -> Duration {
        spread(if known.is_some() { self.ttl } else { NEGATIVE_TTL })
    }
}

fn key(name: &str) -> String {
    format!("user:profile:{name}")
}

fn encoded(known: &Known) -> Vec<u8> {
    // Serialising our own documents cannot fail: their keys are strings.
    known.as_ref().map_or(NOBODY.to_vec(), |profile| serde_json::to_vec(&**profile).unwrap_or_default())
}

/// None for what another version wrote.
fn decoded(value: &[u8]) -> Option<Known> {
    serde_json::from_slice::<Option<Profile>>(value).ok().map(|known| known.map(Arc::new))
}

fn spread(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 - SPREAD * backoff::spread())
}

/// How long each entry lives in memory.
struct Spread(Duration);

impl Expiry<String, Known> for Spread {
    fn expire_after_create(&self, _: &String, known: &Known, _: Instant) -> Option<Duration> {
        Some(spread(if known.is_some() { self.0 } else { NEGATIVE_TTL.min(self.0) }))
    }

    fn expire_after_update(
        &self,
        name: &String,
        known: &Known,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(name, known, now)
    }
}
