//! Profiles in two levels: this process's memory, in front of the store that daemons share, in front of the database.
//!
//! One load a miss, whoever asks meanwhile. What does not exist is remembered too, for a short time. Times to live are
//! spread.
//!
//! No read that was overtaken by a change is remembered, however late it comes:
//!
//! - In memory it counts only in the generation in which it began; a change begins another one.
//! - After a notice to all users the shared level is not used until what stood there has expired.
//! - In the shared level a reader takes a *lease* before it asks the database, and puts in what it read only while that
//!   lease stands there. A change removes whatever stands there. (Rows have versions, but these do not order all writes:
//!   a deletion may be older than what it deletes, and commands of one log may be accepted in one millisecond.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use moka::Expiry;
use moka::future::Cache;
use prometheus::IntCounter;

use super::change_notices::{ALL_USERS, CHANNEL, ChangeNotices, shared_key};
use super::generations::{GenerationSnapshot, UserGenerations};
use super::metrics::Metrics;
use super::{Config, Profile};
use crate::backoff;
use crate::db::{Database, DbError, UserRow};
use crate::kv::{Kv, SetOutcome, SubscriptionEvent};
use crate::sync::Mutex;
use crate::task::Task;

/// How long a name that does not exist is remembered: a registration elsewhere may be applied at any time.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// Times to live are spread by up to a tenth, so that what came together does not go together.
const JITTER: f64 = 0.1;
/// What stands in the shared level for a name that does not exist.
const NO_USER: &[u8] = b"null";
/// How a lease begins; no entry does.
const LEASE: &str = "lease:";
/// A load that takes longer is not shared; until then others ask the database for themselves.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// Somebody, or nobody of that name.
type KnownProfile = Option<Arc<Profile>>;
/// What is in memory, and the generation in which its read began.
type CacheEntry = (KnownProfile, u64);

/// The two levels. Cheap to clone.
#[derive(Clone)]
pub struct ProfileCache {
    local: Cache<String, CacheEntry>,
    /// Until when the shared level may have entries of changed users.
    shared_bypassed_until: Arc<Mutex<Option<Instant>>>,
    kv: Kv,
    db: Database,
    ttl: Duration,
    generations: Arc<UserGenerations>,
    notices: ChangeNotices,
    hits: [IntCounter; 2],
    misses: [IntCounter; 2],
}

impl ProfileCache {
    /// Empty.
    pub fn new(config: &Config, kv: Kv, db: Database, metrics: &Metrics) -> Self {
        let ttl = config.cache_ttl.0;
        let local =
            Cache::builder().max_capacity(config.cache_size).expire_after(JitteredExpiry(ttl)).build();
        let levels = [&metrics.local_cache, &metrics.shared_cache];
        let (hits, misses) =
            (levels.map(|level| level.hits.clone()), levels.map(|level| level.misses.clone()));
        let notices = ChangeNotices::new(kv.clone(), ttl + LEASE_TTL, metrics);
        let distrusted_until = Arc::default();
        Self {
            local,
            shared_bypassed_until: distrusted_until,
            kv,
            db,
            ttl,
            generations: Arc::default(),
            notices,
            hits,
            misses,
        }
    }

    /// The profile of a name, as fresh as the time to live.
    pub async fn get(&self, name: &str) -> Result<KnownProfile, DbError> {
        if let Some((known, _)) = self.local.get(name).await {
            self.hits[0].inc();
            return Ok(known);
        }
        self.misses[0].inc();
        let before = self.generations.current(name);
        let load = async { Ok::<_, DbError>((self.load(name, before).await?, before)) };
        let loaded = self.local.try_get_with(name.to_owned(), load).await;
        // Perhaps loaded by another request, which may have ended before it could do this.
        let (known, began) = loaded.map_err(|error: Arc<DbError>| DbError::clone(&error))?;
        self.evict_if_changed(name, began).await;
        Ok(known)
    }

    /// What the database says now; this process's memory knows it afterwards.
    pub async fn fetch(&self, name: &str) -> Result<Option<UserRow>, DbError> {
        // What is being loaded was perhaps read before this: it does not take the place of this.
        let before = self.generations.advance(name);
        let row = self.db.user(name).await?;
        let known = row.clone().map(|row| Arc::new(Profile::from(row)));
        self.insert(name, known, before).await;
        Ok(row)
    }

    /// Forgets users that were changed: first in this process, whether the shared level answers or not, then there, then
    /// in every daemon.
    pub async fn invalidate(&self, names: &[String]) {
        let names = || names.iter().map(String::as_str);
        self.forget(names()).await;
        self.notices.publish(names()).await;
        // After the shared level once more: a reader here may have taken the old one from there meanwhile.
        self.forget(names()).await;
    }

    /// The way to tell other daemons of changes.
    pub fn notices(&self) -> &ChangeNotices {
        &self.notices
    }

    /// The state of memory, to be noted before rows are read for [`ProfileCache::insert_rows`].
    pub(super) fn generations(&self) -> GenerationSnapshot {
        self.generations.snapshot()
    }

    /// Puts profiles into memory that were read for another reason.
    pub(super) async fn insert_rows(&self, before: &GenerationSnapshot, rows: Vec<UserRow>) {
        for row in rows {
            let name = row.name.clone();
            self.insert(&name, Some(Arc::new(row.into())), before.of(&name)).await;
        }
    }

    /// Listens to what other daemons have changed, for as long as the task is held.
    pub fn listen(&self) -> Task {
        let (this, mut subscription) = (self.clone(), self.kv.subscribe(CHANNEL));
        Task::spawn("users-cache", async move {
            loop {
                match subscription.next().await {
                    SubscriptionEvent::Message(names) if names != ALL_USERS => {
                        this.forget(names.split(' ')).await
                    }
                    // Too many changes to be told by name.
                    SubscriptionEvent::Message(_) => {
                        this.bypass_shared();
                        this.forget_all();
                    }
                    // What was told meanwhile was not heard.
                    SubscriptionEvent::MessagesMissed => {
                        this.forget_all();
                        if !matches!(this.kv.get(&shared_key(ALL_USERS)).await, Ok(None)) {
                            this.bypass_shared();
                            this.forget_all();
                        }
                    }
                }
            }
        })
    }

    fn forget_all(&self) {
        self.generations.advance_all();
        self.local.invalidate_all();
    }

    /// Does without the shared level until everything in it has expired, and what is put in by those that have not heard
    /// yet.
    fn bypass_shared(&self) {
        let until = Instant::now() + self.ttl + LEASE_TTL;
        *self.shared_bypassed_until.lock() = Some(until);
    }

    fn is_shared_bypassed(&self) -> bool {
        let until = *self.shared_bypassed_until.lock();
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn forget(&self, names: impl Iterator<Item = &str>) {
        for name in names {
            self.generations.advance(name);
            self.local.invalidate(name).await;
        }
    }

    /// Puts into memory what was read since `generations`, unless a change overtook it.
    async fn insert(&self, name: &str, known: KnownProfile, before: u64) {
        if self.generations.current(name) == before {
            self.local.insert(name.to_owned(), (known, before)).await;
            self.evict_if_changed(name, before).await;
        }
    }

    /// Forgets a name that was changed since `generations`. Called after something was put in: a change that comes later still
    /// finds it there.
    async fn evict_if_changed(&self, name: &str, before: u64) {
        if self.generations.current(name) != before {
            self.local.invalidate(name).await;
        }
    }

    /// The profile of the shared level, or else of the database. `generations`: the generation in which this begins.
    async fn load(&self, name: &str, before: u64) -> Result<KnownProfile, DbError> {
        if self.is_shared_bypassed() {
            self.misses[1].inc();
            return self.read(name).await;
        }
        let key = shared_key(name);
        let lease = match self.kv.get(&key).await {
            Ok(Some(value)) => match decoded(&value) {
                Some(known) => {
                    self.hits[1].inc();
                    return Ok(known);
                }
                // Another one is loading it.
                None => None,
            },
            Ok(None) => self.lease(&key).await,
            // A store that is away makes the cache smaller, not the answer wrong.
            Err(_) => None,
        };
        self.misses[1].inc();
        let known = self.read(name).await?;
        // Something changed that this process knows of already, and the shared level perhaps not yet.
        let is_newest = self.generations.current(name) == before;
        if let Some(lease) = lease.filter(|_| is_newest) {
            let filled = self.kv.replace(&key, &lease, &encoded(&known), self.time_to_live(&known)).await;
            if let Err(error) = filled {
                tracing::debug!(event = "users.cache_not_filled", %error, "shared cache not filled");
            }
        }
        Ok(known)
    }

    async fn read(&self, name: &str) -> Result<KnownProfile, DbError> {
        Ok(self.db.user(name).await?.map(|row| Arc::new(Profile::from(row))))
    }

    /// Leave to fill the shared level, until something about the name changes. None: not now, or another one has it.
    async fn lease(&self, key: &str) -> Option<Vec<u8>> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let lease = format!("{LEASE}{}", HEXLOWER.encode(&random)).into_bytes();
        let held = self.kv.set_if_absent(key, &lease, LEASE_TTL).await.ok()?;
        (held == SetOutcome::Owned).then_some(lease)
    }

    fn time_to_live(&self, known: &KnownProfile) -> Duration {
        jittered(if known.is_some() { self.ttl } else { NEGATIVE_TTL })
    }
}

fn encoded(known: &KnownProfile) -> Vec<u8> {
    // Serialising our own documents cannot fail: their keys are strings.
    known.as_ref().map_or(NO_USER.to_vec(), |profile| serde_json::to_vec(&**profile).unwrap_or_default())
}

/// None for a lease, and for what another version wrote.
fn decoded(value: &[u8]) -> Option<KnownProfile> {
    serde_json::from_slice::<Option<Profile>>(value).ok().map(|known| known.map(Arc::new))
}

fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 - JITTER * backoff::random_fraction())
}

/// How long each entry lives in memory.
struct JitteredExpiry(Duration);

impl Expiry<String, CacheEntry> for JitteredExpiry {
    fn expire_after_create(&self, _: &String, (known, _): &CacheEntry, _: Instant) -> Option<Duration> {
        Some(jittered(if known.is_some() { self.0 } else { NEGATIVE_TTL.min(self.0) }))
    }

    fn expire_after_update(
        &self,
        name: &String,
        entry: &CacheEntry,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(name, entry, now)
    }
}
