//! Keys with a time to live, shared by daemons: reservations, heartbeats, the second level of the cache.
//!
//! Two stores offer the same calls: a Redis, single or a cluster, shared by all daemons; and an embedded store for a
//! single daemon. Values in either are hints and may disappear at any time; the log and the database are authoritative.

mod bucket;
mod call;
mod config;
mod embedded;
mod error;
mod metrics;
mod remote;
pub mod reservation_marker;
mod subscription;
mod subscription_event;
mod url;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Mutex;

pub use bucket::{Bucket, PermitReply, PermitRequest, Rate};
pub use call::{Replacement, SetOutcome};
pub use config::Config;
pub use error::KvError;
pub use metrics::Metrics;
pub use subscription::Subscription;
pub use subscription_event::SubscriptionEvent;
pub use url::ServerUrl;

use bucket::PermitCount;
use call::{Call, Op, Reply};
use embedded::Embedded;
use remote::Remote;

/// Maximum number of keys per request to the store. More are sent in parts, so that one caller does not delay the
/// others. Each part has the full timeout.
const MAX_KEYS_PER_CALL: usize = 500;

/// The key that a health check sets.
const CHECK_KEY: &str = "forebay:look";
/// The bucket from which a health check takes a permit.
const CHECK_BUCKET: &str = "forebay:look:bucket";
/// Time to live of the health check's keys. The next check sets them again.
const CHECK_TTL: Duration = Duration::from_secs(1);
/// Rate of the health check's bucket. Whether a permit is granted does not matter.
const CHECK_RATE: Rate = Rate { limit: 1_000, window: CHECK_TTL };
/// A lasting refusal is logged once per this time.
const DENIED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Key, value (or its owner prefix) and time to live.
pub type Entry = (String, Vec<u8>, Duration);

/// The key-value store. Clones share it.
#[derive(Clone)]
pub struct Kv {
    store: Backend,
    metrics: Option<Arc<Metrics>>,
    /// When a lasting refusal was last logged.
    last_denied_log: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone)]
enum Backend {
    Remote(Arc<Remote>),
    Embedded(Embedded),
}

impl Kv {
    /// A Redis store. The server may still be unavailable: the first call connects, and later calls reconnect when
    /// needed.
    pub fn redis(config: &Config, metrics: Arc<Metrics>) -> Result<Self, KvError> {
        let remote = Remote::new(config, &metrics)?;
        Ok(Self {
            store: Backend::Remote(Arc::new(remote)),
            metrics: Some(metrics),
            last_denied_log: Arc::default(),
        })
    }

    /// An embedded store in `dir`. A damaged store is moved aside, and a new one starts empty. Blocks on disk I/O.
    pub fn embedded(dir: &Path) -> Result<Self, KvError> {
        Ok(Self::with_embedded(Embedded::open(dir, None)?))
    }

    /// An embedded store with encryption at rest: keys and values cannot be read without `secret`. A store with another
    /// secret, or without encryption, is removed.
    pub fn encrypted(dir: &Path, secret: &[u8; 32]) -> Result<Self, KvError> {
        Ok(Self::with_embedded(Embedded::open(dir, Some(secret))?))
    }

    fn with_embedded(embedded: Embedded) -> Self {
        Self { store: Backend::Embedded(embedded), metrics: None, last_denied_log: Arc::default() }
    }

    /// The same store with metrics for its calls.
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        if let Backend::Embedded(embedded) = &self.store {
            embedded.count_evictions(metrics.entries_hit.clone());
        }
        self.metrics = Some(metrics);
        self
    }

    /// Checks that the store meets the daemon's needs and is of the configured kind; for health checks. It writes a
    /// key, runs scripts, and publishes an empty message on `channel`. It also fails while a subscription receives no
    /// messages. A server that answers reads may be a read-only replica, or may refuse this user other commands.
    pub async fn check(&self, channel: &str) -> Result<(), KvError> {
        let value = b"1".to_vec();
        let calls = vec![
            Call::new(CHECK_KEY, Op::Set { value: value.clone(), ttl: CHECK_TTL }),
            Call::new(CHECK_KEY, Op::Refresh { owner: value, ttl: CHECK_TTL }),
            Call::new(CHECK_KEY, Op::Get),
            Call::new(
                CHECK_BUCKET,
                Op::Spend { rate: CHECK_RATE, want: PermitCount { need: 1, extra: 0 }, at: None },
            ),
        ];
        let look = async {
            match &self.store {
                Backend::Remote(remote) => remote.check(calls, channel).await,
                Backend::Embedded(embedded) => embedded.run(calls).await.map(drop),
            }
        };
        self.measured("kv.look", look).await
    }

    /// The value, if the key exists.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        let reply = self.one("kv.get", Call::new(key, Op::Get)).await?;
        value(reply)
    }

    /// The values, in the keys' order.
    pub async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.many("kv.get_all", keys, |key| Call::new(key, Op::Get), value).await
    }

    /// Sets a value, replacing any other.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), KvError> {
        let op = Op::Set { value: value.to_owned(), ttl };
        self.one("kv.set", Call::new(key, op)).await.map(drop)
    }

    /// Sets many values (key, value, time to live).
    pub async fn set_all(&self, entries: &[Entry]) -> Result<(), KvError> {
        let call = |(key, value, ttl): &Entry| Call::new(key, Op::Set { value: value.clone(), ttl: *ttl });
        self.many("kv.set_all", entries, call, changed).await.map(drop)
    }

    /// Sets a value if the key is absent. After an error the value may have been set. A repeated call with the same
    /// value then returns [`SetOutcome::Owned`].
    pub async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Duration) -> Result<SetOutcome, KvError> {
        let op = Op::SetIfAbsent { value: value.to_owned(), ttl };
        set_outcome(self.one("kv.set_if_absent", Call::new(key, op)).await?)
    }

    /// Does the same for many keys, independently of each other.
    pub async fn set_if_absent_all(&self, entries: &[Entry]) -> Result<Vec<SetOutcome>, KvError> {
        let call =
            |(key, value, ttl): &Entry| Call::new(key, Op::SetIfAbsent { value: value.clone(), ttl: *ttl });
        self.many("kv.set_if_absent_all", entries, call, set_outcome).await
    }

    /// Replaces a value that begins with `owner`. Returns whether it did.
    pub async fn replace(
        &self,
        key: &str,
        owner: &[u8],
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, KvError> {
        let op = Op::Replace { owner: owner.to_owned(), value: value.to_owned(), ttl };
        changed(self.one("kv.replace", Call::new(key, op)).await?)
    }

    /// Does the same for many keys.
    pub async fn replace_all(&self, entries: &[Replacement]) -> Result<Vec<bool>, KvError> {
        let call = |entry: &Replacement| {
            let (owner, value) = (entry.owner.clone(), entry.value.clone());
            Call::new(&entry.key, Op::Replace { owner, value, ttl: entry.ttl })
        };
        self.many("kv.replace_all", entries, call, changed).await
    }

    /// Sets a new time to live for values that begin with their `owner`. Returns for each whether it exists.
    pub async fn refresh_all(&self, entries: &[Entry]) -> Result<Vec<bool>, KvError> {
        let call =
            |(key, owner, ttl): &Entry| Call::new(key, Op::Refresh { owner: owner.clone(), ttl: *ttl });
        self.many("kv.refresh_all", entries, call, changed).await
    }

    /// Removes a value that begins with `owner`. Returns `false` if no such value exists (any more).
    pub async fn remove(&self, key: &str, owner: &[u8]) -> Result<bool, KvError> {
        let op = Op::Remove { owner: owner.to_owned() };
        changed(self.one("kv.remove", Call::new(key, op)).await?)
    }

    /// Does the same for many (key, owner).
    pub async fn remove_all(&self, entries: &[(String, Vec<u8>)]) -> Result<Vec<bool>, KvError> {
        let call = |(key, owner): &(String, Vec<u8>)| Call::new(key, Op::Remove { owner: owner.clone() });
        self.many("kv.remove_all", entries, call, changed).await
    }

    /// Removes values, whatever their owner.
    pub async fn delete_all(&self, keys: &[String]) -> Result<(), KvError> {
        self.many("kv.delete_all", keys, |key| Call::new(key, Op::Delete), changed).await.map(drop)
    }

    /// Takes `need` permits from a bucket, or none. In addition takes up to `extra` permits, at most a tenth of the
    /// rest. After an error the permits may have been taken, once or twice. They are then lost, and come back with
    /// time.
    pub async fn take_permits(
        &self,
        key: &str,
        rate: Rate,
        need: u64,
        extra: u64,
    ) -> Result<PermitReply, KvError> {
        let want = PermitCount { need: i64::try_from(need).unwrap_or(i64::MAX), extra };
        self.bucket(key, rate, want, None).await
    }

    /// Does the same for many buckets, independently of each other.
    pub async fn take_all_permits(&self, requests: &[PermitRequest]) -> Result<Vec<PermitReply>, KvError> {
        let call = |it: &PermitRequest| {
            Call::new(&it.key, Op::Spend { rate: it.rate, want: it.permits(), at: None })
        };
        self.many("kv.spend_all", requests, call, permit_reply).await
    }

    /// Does the same at a given instant (microseconds), for tests that compare decisions.
    #[doc(hidden)]
    pub async fn take_permits_at(
        &self,
        key: &str,
        rate: Rate,
        (need, extra): (i64, u64),
        at: u64,
    ) -> Result<PermitReply, KvError> {
        self.bucket(key, rate, PermitCount { need, extra }, Some(at)).await
    }

    /// Returns permits to a bucket.
    pub async fn return_permits(&self, key: &str, rate: Rate, count: u64) -> Result<(), KvError> {
        let need = i64::try_from(count).map_or(i64::MIN, |count| -count);
        self.bucket(key, rate, PermitCount { need, extra: 0 }, None).await.map(drop)
    }

    async fn bucket(
        &self,
        key: &str,
        rate: Rate,
        want: PermitCount,
        at: Option<u64>,
    ) -> Result<PermitReply, KvError> {
        permit_reply(self.one("kv.spend", Call::new(key, Op::Spend { rate, want, at })).await?)
    }

    /// Sends a message to the current subscribers of the channel.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), KvError> {
        let publish = async {
            match &self.store {
                Backend::Remote(remote) => remote.publish(channel, message).await,
                Backend::Embedded(embedded) => {
                    embedded.publish(channel, message);
                    Ok(())
                }
            }
        };
        self.measured("kv.publish", publish).await
    }

    /// Subscribes to messages published from now on. The first [`Subscription::next`] connects.
    pub fn subscribe(&self, channel: &str) -> Subscription {
        match &self.store {
            Backend::Remote(remote) => {
                let lost = self.metrics.as_ref().map(|m| m.messages_hit.clone());
                Subscription::remote(remote.subscribe(channel, lost))
            }
            Backend::Embedded(embedded) => Subscription::embedded(embedded.subscribe(channel)),
        }
    }

    /// Returns when all data written to an embedded store is on disk. The store also flushes by itself, twice per
    /// second and when its last handle is dropped; but a process may end while a handle still exists.
    pub async fn flush(&self) -> Result<(), KvError> {
        match &self.store {
            Backend::Remote(_) => Ok(()),
            Backend::Embedded(embedded) => self.measured("kv.flush", embedded.flush()).await,
        }
    }

    async fn one(&self, step: &str, call: Call) -> Result<Reply, KvError> {
        let mut replies = self.measured(step, self.run(vec![call])).await?;
        replies.pop().ok_or_else(|| KvError::Malformed("a call got no reply".to_owned()))
    }

    async fn many<E, T>(
        &self,
        step: &str,
        entries: &[E],
        call: impl Fn(&E) -> Call,
        read: impl Fn(Reply) -> Result<T, KvError>,
    ) -> Result<Vec<T>, KvError> {
        let mut all = Vec::with_capacity(entries.len());
        for part in entries.chunks(MAX_KEYS_PER_CALL) {
            let replies = self.measured(step, self.run(part.iter().map(&call).collect())).await?;
            for reply in replies {
                all.push(read(reply)?);
            }
        }
        Ok(all)
    }

    async fn run(&self, calls: Vec<Call>) -> Result<Vec<Reply>, KvError> {
        match &self.store {
            Backend::Remote(remote) => remote.run(calls).await,
            Backend::Embedded(embedded) => embedded.run(calls).await,
        }
    }

    async fn measured<T>(
        &self,
        step: &str,
        work: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        let began = Instant::now();
        let done = work.await;
        if let Err(error @ KvError::Denied) = &done
            && self.should_log_denied(began)
        {
            tracing::error!(event = "kv.denied", step, %error, "Redis refuses a command; correct its permissions");
        }
        if let Some(metrics) = &self.metrics {
            metrics.step_seconds.with_label_values(&[step]).observe(began.elapsed().as_secs_f64());
        }
        done
    }
}

impl Kv {
    /// Whether no refusal was logged for a while.
    fn should_log_denied(&self, now: Instant) -> bool {
        let mut said = self.last_denied_log.lock();
        if said.is_some_and(|said| now.saturating_duration_since(said) < DENIED_LOG_INTERVAL) {
            return false;
        }
        *said = Some(now);
        true
    }
}

fn value(reply: Reply) -> Result<Option<Vec<u8>>, KvError> {
    match reply {
        Reply::Value(value) => Ok(value),
        _ => Err(unexpected_reply()),
    }
}

fn changed(reply: Reply) -> Result<bool, KvError> {
    match reply {
        Reply::Changed(changed) => Ok(changed),
        _ => Err(unexpected_reply()),
    }
}

fn set_outcome(reply: Reply) -> Result<SetOutcome, KvError> {
    match reply {
        Reply::Held(set_outcome) => Ok(set_outcome),
        _ => Err(unexpected_reply()),
    }
}

fn permit_reply(reply: Reply) -> Result<PermitReply, KvError> {
    match reply {
        Reply::Spent(permit_reply) => Ok(permit_reply),
        _ => Err(unexpected_reply()),
    }
}

fn unexpected_reply() -> KvError {
    KvError::Malformed("the reply does not match the call".to_owned())
}
