//! Hashes passwords with bcrypt on a few dedicated threads, so that hashing blocks neither the runtime nor all cores.
//!
//! A request is served within its deadline or rejected at once. Deferred hashes for the drain (`hash_deferred`) have no
//! deadline. The three purposes (compare, store, deferred) are served round-robin, and within each purpose the client
//! addresses (`queue`, `fair_queue`), so that none starves another. The time per hash is estimated from previous hashes
//! (`estimate`).

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

/// Maximum sleep. No correctness depends on it: a stop wakes the threads.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct HashPool {
    shared: Arc<Shared>,
}

/// The threads of the pool. The owner must stop them.
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
    pub fn start(config: &Config, metrics: Metrics, fatal: &FatalSignal) -> io::Result<(Self, HashWorkers)> {
        let count = config.hash_thread_count();
        let shared = Arc::new(Shared {
            cost: config.password_cost,
            queue: HashQueue::new(count, estimate::INITIAL_ROUND_TIME),
            metrics,
        });
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let its = Arc::clone(&shared);
            let on_failure = OnFailure::Raise(fatal.clone());
            threads.push(Thread::spawn(&format!("hash-{index}"), on_failure, move |_| {
                its.work();
                Ok(())
            })?);
        }
        Ok((Self { shared: Arc::clone(&shared) }, HashWorkers { shared, threads }))
    }

    /// Hashes the password before `deadline`, or fails; at once if the queue is too long. `client`: for fair
    /// scheduling.
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

    /// Whether the password matches the hash, checked before `deadline`. An invalid hash, or one with a cost above the
    /// allowed range, matches no password and costs as much as a valid one. `client`: for fair scheduling.
    pub async fn verify(
        &self,
        password: Secret,
        hash: &str,
        client: IpAddr,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        // No longer password was ever hashed.
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
            // The estimate was wrong. A job whose client no longer waits is skipped.
            Err(_) => Err(HashError::Busy { retry_after: self.shared.queue.wait(info) }),
        }
    }

    /// Hashes the password without a deadline. `done` is called once, on a thread of the pool, or at once if the daemon
    /// is stopping. The caller limits the number of its jobs.
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

    /// Runs until the queue is closed.
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

/// Blocks for the duration of the hash. The length is checked here too, because bcrypt silently ignores the rest.
fn bcrypt(password: &Secret, cost: u32, salt: [u8; 16]) -> Result<String, HashError> {
    if password.expose().len() > LONGEST_PASSWORD {
        return Err(HashError::TooLong);
    }
    // The crate's `non_truncating_` functions require space for a final zero and reject 72 bytes, which bcrypt accepts.
    // Costs are validated in the configuration and in stored hashes (`split_hash`), so no other error is possible.
    let parts = bcrypt::hash_with_salt(password.expose(), cost, salt).map_err(|_| HashError::Closing)?;
    Ok(parts.to_string())
}

/// Hashes on the caller's thread, for command-line tools.
pub fn hash_now(password: &Secret, cost: u32) -> Result<String, HashError> {
    bcrypt(password, cost, random_salt().map_err(|_| HashError::Closing)?)
}

/// Cost and salt of a hash; `None` if it is invalid or its cost is outside the allowed range.
fn split_hash(hash: &str) -> Option<(u32, [u8; 16])> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    if !ALLOWED_COSTS.contains(&parts.get_cost()) {
        return None;
    }
    // bcrypt's own base 64, which 16 bytes fill with 22 characters and two bits of the last one.
    let salt = salt::decode_salt(&parts.get_salt())?;
    Some((parts.get_cost(), salt))
}

/// Compares the digests only. The version letter before cost and salt does not matter.
fn same_hash(one: &str, other: &str) -> bool {
    /// The hash has 60 characters: `$2b$10$`, 22 of salt, then 31 of the digest.
    const DIGEST_AT: usize = 29;
    match (one.as_bytes().get(DIGEST_AT..), other.as_bytes().get(DIGEST_AT..)) {
        (Some(one), Some(other)) => constant_time_eq(one, other),
        _ => false,
    }
}

impl HashWorkers {
    /// Rejects waiting and new jobs, and ends the threads. Waits for all of them for at most `within`. Blocks.
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
