//! bcrypt on a few threads of its own, so that passwords take neither the runtime nor all cores.
//!
//! Requests are served by a deadline or refused at once; what is hashed ahead for the drain (`hash_deferred`) waits as long as it
//! takes. Comparing, storing and hashing ahead take turns, and in each of them the addresses of clients do (`queue`,
//! `fair_queue`), so that none of them starves another. What a password takes is learned from those before it (`estimate`).

mod estimate;
mod fair_queue;
mod job;
mod metrics;
mod queue;
mod salt;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command::{Secret, constant_time_eq};
use crate::task::{FatalSignal, OnFailure, Thread};

use super::config::{ALLOWED_COSTS, Config};
use estimate::Stopwatch;
use job::{HashPurpose, HashReply, Job, JobInfo};
use queue::HashQueue;

pub use job::{HashError, LONGEST_PASSWORD};
pub use metrics::Metrics;
pub use salt::{derived_salt, random_salt};

/// Nothing depends on it: a stop wakes who waits.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct HashPool {
    shared: Arc<Shared>,
}

/// Its threads; whoever holds this stops them.
pub struct HashWorkers {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

struct Shared {
    cost: u32,
    queue: HashQueue,
    metrics: Metrics,
}

impl HashPool {
    /// Starts the threads of `[users] hash_threads`.
    pub fn start(config: &Config, metrics: Metrics, alarm: &FatalSignal) -> io::Result<(Self, HashWorkers)> {
        let count = config.hash_thread_count();
        let shared = Arc::new(Shared {
            cost: config.password_cost,
            queue: HashQueue::new(count, estimate::INITIAL_ROUND_TIME),
            metrics,
        });
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let its = Arc::clone(&shared);
            let on_failure = OnFailure::Raise(alarm.clone());
            threads.push(Thread::spawn(&format!("hash-{index}"), on_failure, move |_| {
                its.work();
                Ok(())
            })?);
        }
        Ok((Self { shared: Arc::clone(&shared) }, HashWorkers { shared, threads }))
    }

    /// The password's hash before `deadline`, or a refusal: at once when what goes before would not leave the time.
    /// `client`: whose turn it takes.
    pub async fn hash(
        &self,
        password: Secret,
        salt: [u8; 16],
        client: IpAddr,
        deadline: Instant,
    ) -> Result<String, HashError> {
        let cost = self.shared.cost;
        let info = JobInfo { purpose: HashPurpose::Store, client: Some(client), cost };
        self.hash_interactive(info, password, salt, deadline).await
    }

    /// Whether this is the password of that hash, before `deadline`. What is no hash, or one that would keep a thread for
    /// longer than any of ours, is nobody's: it costs what a hash of ours costs. `client`: whose turn it takes.
    pub async fn verify(
        &self,
        password: Secret,
        hash: &str,
        client: IpAddr,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        // No longer one was ever hashed.
        if password.expose().len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let usable = split_hash(hash);
        let (cost, salt) = usable.unwrap_or((self.shared.cost, [0; 16]));
        let info = JobInfo { purpose: HashPurpose::Compare, client: Some(client), cost };
        let found = self.hash_interactive(info, password, salt, deadline).await?;
        if usable.is_none() {
            let (least, most) = ALLOWED_COSTS.into_inner();
            tracing::warn!(
                event = "password.unusable_hash",
                cost.min = least,
                cost.max = most,
                "stored password hash is not bcrypt with a supported cost; its user cannot log in until the password \
                 is set again"
            );
        }
        Ok(usable.is_some() && same_hash(&found, hash))
    }

    async fn hash_interactive(
        &self,
        info: JobInfo,
        password: Secret,
        salt: [u8; 16],
        deadline: Instant,
    ) -> Result<String, HashError> {
        if password.expose().len() > LONGEST_PASSWORD {
            return Err(HashError::TooLong);
        }
        let (reply, answer) = oneshot::channel();
        let reply = HashReply::Waiting(reply);
        self.shared.push_interactive(Job { info, password, salt, deadline: Some(deadline), reply })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(hashed)) => hashed,
            Ok(Err(_)) => Err(HashError::Closing),
            // The estimate was wrong; a job nobody waits for is passed over.
            Err(_) => Err(HashError::Busy { retry_after: self.shared.queue.wait(info) }),
        }
    }

    /// The password's hash when its turn comes: `done` is called once, on a thread of the pool or, when the daemon is
    /// stopping, at once. The caller bounds how many it has under way.
    pub fn hash_deferred(
        &self,
        password: Secret,
        salt: [u8; 16],
        done: impl FnOnce(Result<String, HashError>) + Send + 'static,
    ) {
        let reply = HashReply::Callback(Box::new(done));
        if password.expose().len() > LONGEST_PASSWORD {
            return reply.send(Err(HashError::TooLong));
        }
        let info = JobInfo { purpose: HashPurpose::Deferred, client: None, cost: self.shared.cost };
        let job = Job { info, password, salt, deadline: None, reply };
        if let Err(job) = self.shared.queue.push_deferred(job) {
            job.reply.send(Err(HashError::Closing));
        }
        self.shared.update_metrics();
    }
}

impl Shared {
    fn push_interactive(&self, job: Job) -> Result<(), HashError> {
        let pushed = self.queue.push_interactive(job);
        if let Err(HashError::Busy { .. }) = pushed {
            self.metrics.queue_hit.inc();
        }
        self.update_metrics();
        pushed
    }

    fn update_metrics(&self) {
        self.metrics.waiting.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
    }

    /// Until the queue is closed.
    fn work(&self) {
        while let Some(job) = self.queue.take(MAX_SLEEP) {
            self.update_metrics();
            let Some(Job { info, password, salt, deadline, reply }) = job else { continue };
            if reply.is_closed() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.queue.on_skipped(info);
                reply.send(Err(HashError::Busy { retry_after: self.queue.wait(info) }));
                continue;
            }
            let stopwatch = Stopwatch::start();
            let hashed = bcrypt(&password, info.cost, salt);
            drop(password);
            self.queue.on_hashed(info, stopwatch.measured());
            reply.send(hashed);
        }
    }
}

/// Blocks for as long as the cost takes. The length is checked here too: the rest would be ignored in silence.
fn bcrypt(password: &Secret, cost: u32, salt: [u8; 16]) -> Result<String, HashError> {
    if password.expose().len() > LONGEST_PASSWORD {
        return Err(HashError::TooLong);
    }
    // The crate's `non_truncating_` functions want room for a final zero and refuse 72 bytes, which bcrypt takes whole.
    // Costs are validated, in the configuration and in stored hashes (`split_hash`): nothing else can be wrong.
    let parts = bcrypt::hash_with_salt(password.expose(), cost, salt).map_err(|_| HashError::Closing)?;
    Ok(parts.to_string())
}

/// A hash made on the caller's thread, for tools.
pub fn hash_now(password: &Secret, cost: u32) -> Result<String, HashError> {
    bcrypt(password, cost, random_salt().map_err(|_| HashError::Closing)?)
}

/// Cost and salt of a hash; none for what is no hash, or has a cost that ours never have.
fn split_hash(hash: &str) -> Option<(u32, [u8; 16])> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    if !ALLOWED_COSTS.contains(&parts.get_cost()) {
        return None;
    }
    // bcrypt's own base 64, which 16 bytes fill with 22 characters and two bits of the last one.
    let salt = salt::decode_salt(&parts.get_salt())?;
    Some((parts.get_cost(), salt))
}

/// Compares the digests behind cost and salt; which version letter stands before them says nothing.
fn same_hash(one: &str, other: &str) -> bool {
    /// Of 60 characters: `$2b$10$` and 22 of salt, then 31 of the digest.
    const DIGEST_AT: usize = 29;
    match (one.as_bytes().get(DIGEST_AT..), other.as_bytes().get(DIGEST_AT..)) {
        (Some(one), Some(other)) => constant_time_eq(one, other),
        _ => false,
    }
}

impl HashWorkers {
    /// Refuses what waits and comes, and ends the threads; waits for them at most this long in all. Blocks.
    pub fn stop(self, within: Duration) {
        let deadline = Instant::now() + within;
        for job in self.shared.queue.close() {
            job.reply.send(Err(HashError::Closing));
        }
        for thread in self.threads {
            if let Err(late) = thread.stop(deadline.saturating_duration_since(Instant::now())) {
                tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
            }
        }
    }
}

#[cfg(test)]
mod tests;
