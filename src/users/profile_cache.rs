//! Profile cache with two levels: process memory, and the store shared by the daemons. The database is behind both.
//!
//! A miss causes one load, which concurrent requests share. Non-existence is cached too, for a short time. Times to
//! live are randomised.
//!
//! A read that was overtaken by a change is never cached, however late it completes:
//!
//! - In memory, an entry is valid only in the generation in which its read began. A change begins a new generation.
//! - After a notice for all users, the shared level is bypassed until its entries have expired.
//! - In the shared level, a reader takes a *lease* before it queries the database, and stores its result only while
//!   that lease exists. A change removes the entry or lease. (Rows have versions, but versions do not order all writes:
//!   a deletion may be older than the row it deletes, and commands of one log may be accepted in the same millisecond.)

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

/// How long a missing user is cached. Another daemon may register the name at any time.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// Times to live vary by up to a tenth, so that entries stored together do not expire together.
const JITTER: f64 = 0.1;
/// Value in the shared level for a name that does not exist.
const NO_USER: &[u8] = b"null";
/// Prefix of a lease. No entry begins with it.
const LEASE: &str = "lease:";
/// A longer load is not shared; until then, other processes query the database themselves.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// The user, or `None` if the name does not exist.
type KnownProfile = Option<Arc<Profile>>;
/// The cached value, and the generation in which its read began.
type CacheEntry = (KnownProfile, u64);

/// The profile cache. Cheap to clone.
#[derive(Clone)]
pub struct ProfileCache {
    local: Cache<String, CacheEntry>,
    /// Until when the shared level may hold stale entries.
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
    /// An empty cache.
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

    /// The profile of a name, at most as old as the time to live.
    pub async fn get(&self, name: &str) -> Result<KnownProfile, DbError> {
        if let Some((known, _)) = self.local.get(name).await {
            self.hits[0].inc();
            return Ok(known);
        }
        self.misses[0].inc();
        let before = self.generations.current(name);
        let load = async { Ok::<_, DbError>((self.load(name, before).await?, before)) };
        let loaded = self.local.try_get_with(name.to_owned(), load).await;
        // Another request may have performed the load, and may have ended before this check.
        let (known, began) = loaded.map_err(|error: Arc<DbError>| DbError::clone(&error))?;
        self.evict_if_changed(name, began).await;
        Ok(known)
    }

    /// Reads the row from the database and updates this process's memory.
    pub async fn fetch(&self, name: &str) -> Result<Option<UserRow>, DbError> {
        // A load in progress may have read an older row; it must not replace this one.
        let before = self.generations.advance(name);
        let row = self.db.user(name).await?;
        let known = row.clone().map(|row| Arc::new(Profile::from(row)));
        self.insert(name, known, before).await;
        Ok(row)
    }

    /// Removes changed users: first from this process, whether or not the shared level responds, then from the shared
    /// level, then from every daemon.
    pub async fn invalidate(&self, names: &[String]) {
        let names = || names.iter().map(String::as_str);
        self.forget(names()).await;
        self.notices.publish(names()).await;
        // Again after the shared level: a reader of this process may have cached the old entry from there meanwhile.
        self.forget(names()).await;
    }

    /// The sender of change notices to other daemons.
    pub fn notices(&self) -> &ChangeNotices {
        &self.notices
    }

    /// The current generations. Take them before reading rows for [`ProfileCache::insert_rows`].
    pub(super) fn generations(&self) -> GenerationSnapshot {
        self.generations.snapshot()
    }

    /// Caches profiles that were read for another purpose.
    pub(super) async fn insert_rows(&self, before: &GenerationSnapshot, rows: Vec<UserRow>) {
        for row in rows {
            let name = row.name.clone();
            self.insert(&name, Some(Arc::new(row.into())), before.of(&name)).await;
        }
    }

    /// Receives change notices of other daemons until the returned task is dropped.
    pub fn listen(&self) -> Task {
        let (this, mut subscription) = (self.clone(), self.kv.subscribe(CHANNEL));
        Task::spawn("users-cache", async move {
            loop {
                match subscription.next().await {
                    SubscriptionEvent::Message(names) if names != ALL_USERS => {
                        this.forget(names.split(' ')).await
                    }
                    // Too many changes to be sent by name.
                    SubscriptionEvent::Message(_) => {
                        this.bypass_shared();
                        this.forget_all();
                    }
                    // Notices may have been lost meanwhile.
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

    /// Bypasses the shared level until all its entries have expired, including entries stored by daemons that have not
    /// yet received the notice.
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

    /// Caches a value read since `generations`, unless a change overtook it.
    async fn insert(&self, name: &str, known: KnownProfile, before: u64) {
        if self.generations.current(name) == before {
            self.local.insert(name.to_owned(), (known, before)).await;
            self.evict_if_changed(name, before).await;
        }
    }

    /// Removes a name that changed since `generations`. Called after an insertion, because a later change finds and
    /// removes the entry itself.
    async fn evict_if_changed(&self, name: &str, before: u64) {
        if self.generations.current(name) != before {
            self.local.invalidate(name).await;
        }
    }

    /// Loads the profile from the shared level, or else from the database. `generations`: the generation in which the
    /// load begins.
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
                // Another process is loading it.
                None => None,
            },
            Ok(None) => self.lease(&key).await,
            // An unavailable store reduces hits; it does not make results wrong.
            Err(_) => None,
        };
        self.misses[1].inc();
        let known = self.read(name).await?;
        // This process knows of a change that may not have reached the shared level.
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

    /// Takes the lease that permits filling the shared level until the user changes. `None`: not possible, or another
    /// process holds it.
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
    // Serialising these documents cannot fail: their keys are strings.
    known.as_ref().map_or(NO_USER.to_vec(), |profile| serde_json::to_vec(&**profile).unwrap_or_default())
}

/// Decodes an entry. `None` for a lease or the value of another version.
fn decoded(value: &[u8]) -> Option<KnownProfile> {
    serde_json::from_slice::<Option<Profile>>(value).ok().map(|known| known.map(Arc::new))
}

fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 - JITTER * backoff::random_fraction())
}

/// The expiry of each entry in memory.
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
