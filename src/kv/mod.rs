//! Keys with a time to live that daemons share: pending markers, heartbeats, the second level of the cache.
//!
//! Two stores answer the same calls: a Redis, single or a cluster, that all daemons share, and one of this process's
//! own for a daemon that is alone. What stands in either is a hint and may be gone at any time; the log and the
//! database are the truth.

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

/// Keys that go to the store together. More are sent in parts, so that one caller does not keep the others waiting;
/// each part has the time-out to itself.
const MAX_KEYS_PER_CALL: usize = 500;

/// The key that a look at the store sets.
const CHECK_KEY: &str = "forebay:look";
/// The bucket that a look takes a permit out of.
const CHECK_BUCKET: &str = "forebay:look:bucket";
/// How long they stand. The next look sets them again.
const CHECK_TTL: Duration = Duration::from_secs(1);
/// Whether there is a permit does not matter.
const CHECK_RATE: Rate = Rate { limit: 1_000, window: CHECK_TTL };
/// A refusal that lasts is said once in this time.
const DENIED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Key, value (or its owner) and time to live.
pub type Entry = (String, Vec<u8>, Duration);

/// The store. Clones share it.
#[derive(Clone)]
pub struct Kv {
    store: Backend,
    metrics: Option<Arc<Metrics>>,
    /// When a refusal that lasts was said last.
    last_denied_log: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone)]
enum Backend {
    Remote(Arc<Remote>),
    Embedded(Embedded),
}

impl Kv {
    /// A Redis. Nobody need be there yet: it is connected to by the first call, and again whenever that is needed.
    pub fn redis(config: &Config, metrics: Arc<Metrics>) -> Result<Self, KvError> {
        let remote = Remote::new(config, &metrics)?;
        Ok(Self {
            store: Backend::Remote(Arc::new(remote)),
            metrics: Some(metrics),
            last_denied_log: Arc::default(),
        })
    }

    /// A store of this process's own in `dir`. What is damaged is moved aside, and the store begins empty. Blocks for
    /// the disk.
    pub fn embedded(dir: &Path) -> Result<Self, KvError> {
        Ok(Self::of_own(Embedded::open(dir, None)?))
    }

    /// The same, for encryption at rest: keys and values cannot be read without `secret`. A store under another secret,
    /// or under none, is removed.
    pub fn encrypted(dir: &Path, secret: &[u8; 32]) -> Result<Self, KvError> {
        Ok(Self::of_own(Embedded::open(dir, Some(secret))?))
    }

    fn of_own(embedded: Embedded) -> Self {
        Self { store: Backend::Embedded(embedded), metrics: None, last_denied_log: Arc::default() }
    }

    /// The same store with its calls measured.
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        if let Backend::Embedded(embedded) = &self.store {
            embedded.count_evictions(metrics.entries_hit.clone());
        }
        self.metrics = Some(metrics);
        self
    }

    /// Whether the store does what is needed of it, and is of the kind that the configuration says; for whoever watches
    /// it. Writes a key, runs scripts, publishes an empty message on `channel`, and says when what is subscribed
    /// to is not heard: a server that answers reads may be a read-only replica, or refuse this user the rest.
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

    /// The value, if there is one.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        let reply = self.one("kv.get", Call::new(key, Op::Get)).await?;
        value(reply)
    }

    /// The values, in the keys' order.
    pub async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.many("kv.get_all", keys, |key| Call::new(key, Op::Get), value).await
    }

    /// Sets a value, whatever stands there.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), KvError> {
        let op = Op::Set { value: value.to_owned(), ttl };
        self.one("kv.set", Call::new(key, op)).await.map(drop)
    }

    /// Sets many (key, value, time to live).
    pub async fn set_all(&self, entries: &[Entry]) -> Result<(), KvError> {
        let call = |(key, value, ttl): &Entry| Call::new(key, Op::Set { value: value.clone(), ttl: *ttl });
        self.many("kv.set_all", entries, call, changed).await.map(drop)
    }

    /// Sets a value where nothing stands. After an error it may have been set all the same: asked again with the same
    /// value the answer is [`SetOutcome::Owned`] then.
    pub async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Duration) -> Result<SetOutcome, KvError> {
        let op = Op::SetIfAbsent { value: value.to_owned(), ttl };
        held(self.one("kv.set_if_absent", Call::new(key, op)).await?)
    }

    /// The same for many, side by side: each key for itself, none depends on another.
    pub async fn set_if_absent_all(&self, entries: &[Entry]) -> Result<Vec<SetOutcome>, KvError> {
        let call =
            |(key, value, ttl): &Entry| Call::new(key, Op::SetIfAbsent { value: value.clone(), ttl: *ttl });
        self.many("kv.set_if_absent_all", entries, call, held).await
    }

    /// Replaces a value that begins with `owner`; says whether it did.
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

    /// The same for many.
    pub async fn replace_all(&self, entries: &[Replacement]) -> Result<Vec<bool>, KvError> {
        let call = |entry: &Replacement| {
            let (owner, value) = (entry.owner.clone(), entry.value.clone());
            Call::new(&entry.key, Op::Replace { owner, value, ttl: entry.ttl })
        };
        self.many("kv.replace_all", entries, call, changed).await
    }

    /// Lets values that begin with their `owner` live for so long from now on; says for each whether it stands there.
    pub async fn refresh_all(&self, entries: &[Entry]) -> Result<Vec<bool>, KvError> {
        let call =
            |(key, owner, ttl): &Entry| Call::new(key, Op::Refresh { owner: owner.clone(), ttl: *ttl });
        self.many("kv.refresh_all", entries, call, changed).await
    }

    /// Removes a value that begins with `owner`. False: none stands there (any more).
    pub async fn remove(&self, key: &str, owner: &[u8]) -> Result<bool, KvError> {
        let op = Op::Remove { owner: owner.to_owned() };
        changed(self.one("kv.remove", Call::new(key, op)).await?)
    }

    /// The same for many (key, owner).
    pub async fn remove_all(&self, entries: &[(String, Vec<u8>)]) -> Result<Vec<bool>, KvError> {
        let call = |(key, owner): &(String, Vec<u8>)| Call::new(key, Op::Remove { owner: owner.clone() });
        self.many("kv.remove_all", entries, call, changed).await
    }

    /// Removes values, whosever they are.
    pub async fn delete_all(&self, keys: &[String]) -> Result<(), KvError> {
        self.many("kv.delete_all", keys, |key| Call::new(key, Op::Delete), changed).await.map(drop)
    }

    /// Takes permits out of a bucket: `need` or none, and up to `extra` beside them, but no more than a tenth of what
    /// is left then. After an error they may have been taken, once or twice: they are lost then, and come back with time.
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

    /// The same for many, each for itself.
    pub async fn take_all_permits(&self, questions: &[PermitRequest]) -> Result<Vec<PermitReply>, KvError> {
        let call = |it: &PermitRequest| {
            Call::new(&it.key, Op::Spend { rate: it.rate, want: it.permits(), at: None })
        };
        self.many("kv.spend_all", questions, call, spent).await
    }

    /// The same at an instant of the caller's own (microseconds): for tests that compare decisions.
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

    /// Puts permits back.
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
        spent(self.one("kv.spend", Call::new(key, Op::Spend { rate, want, at })).await?)
    }

    /// Tells everybody who has subscribed to the channel now.
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

    /// What is published on the channel from now on. It is not connected before the first [`Subscription::next`].
    pub fn subscribe(&self, channel: &str) -> Subscription {
        match &self.store {
            Backend::Remote(remote) => {
                let lost = self.metrics.as_ref().map(|m| m.messages_hit.clone());
                Subscription::remote(remote.subscribe(channel, lost))
            }
            Backend::Embedded(embedded) => Subscription::embedded(embedded.subscribe(channel)),
        }
    }

    /// Returns when the disk has what was written to a store of this process's own. That store also writes by itself,
    /// twice a second and when its last handle is dropped; but a process may end while somebody has one.
    pub async fn flush(&self) -> Result<(), KvError> {
        match &self.store {
            Backend::Remote(_) => Ok(()),
            Backend::Embedded(embedded) => self.measured("kv.flush", embedded.flush()).await,
        }
    }

    async fn one(&self, step: &str, call: Call) -> Result<Reply, KvError> {
        let mut replies = self.measured(step, self.run(vec![call])).await?;
        replies.pop().ok_or_else(|| KvError::Malformed("no answer to a call".to_owned()))
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
            tracing::error!(event = "kv.denied", step, %error, "Redis refuses a command; its permissions must be corrected");
        }
        if let Some(metrics) = &self.metrics {
            metrics.step_seconds.with_label_values(&[step]).observe(began.elapsed().as_secs_f64());
        }
        done
    }
}

impl Kv {
    /// Whether a refusal was not said for a while.
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

fn held(reply: Reply) -> Result<SetOutcome, KvError> {
    match reply {
        Reply::Held(held) => Ok(held),
        _ => Err(unexpected_reply()),
    }
}

fn spent(reply: Reply) -> Result<PermitReply, KvError> {
    match reply {
        Reply::Spent(spent) => Ok(spent),
        _ => Err(unexpected_reply()),
    }
}

fn unexpected_reply() -> KvError {
    KvError::Malformed("the answer to another question".to_owned())
}
