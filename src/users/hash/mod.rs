//! bcrypt on a few threads of its own, so that passwords take neither the runtime nor all cores.
//!
//! Two queues: whoever waits for an answer is served by a deadline or refused at once; what is hashed ahead for the drain
//! (`ahead`) waits as long as it takes. A thread that is free takes from both in turn, so that neither starves.

mod estimate;
mod queue;
mod salt;

use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use prometheus::IntGauge;
use tokio::sync::oneshot;

use crate::command::Secret;
use crate::command::same_bytes;
use crate::metrics::Metrics;
use crate::task::Alarm;
use crate::task::OnFailure;
use crate::task::Thread;

use super::config::Config;
use queue::Job;
use queue::Queue;

pub use salt::derived_salt;
pub use salt::random_salt;

/// bcrypt reads no more than this of a password.
pub const LONGEST_PASSWORD: usize = 72;
/// Nothing depends on it: a stop wakes who waits.
const TURN: Duration = Duration::from_secs(1);

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It would not be ready in time.
    #[error("too many passwords wait to be hashed")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// bcrypt would ignore the rest.
    #[error("a password has at most {LONGEST_PASSWORD} bytes")]
    TooLong,
    /// Shutting down.
    #[error("the daemon is stopping")]
    Closing,
}

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
    queue: Queue,
    waiting: IntGauge,
    metrics: Arc<Metrics>,
}

impl HashPool {
    /// Starts the threads of `[users] hash_threads`.
    pub fn start(config: &Config, metrics: Arc<Metrics>, alarm: &Alarm) -> io::Result<(Self, HashWorkers)> {
        let count = config.hash_thread_count();
        let shared = Arc::new(Shared {
            cost: config.password_cost,
            queue: Queue::new(count, estimate::of_cost(config.password_cost)),
            waiting: metrics.hash_waiting.clone(),
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

    /// The password's hash before `deadline`, or a refusal: at once when the queue ahead would not leave the time.
    pub async fn hash(
        &self,
        password: Secret,
        salt: [u8; 16],
        deadline: Instant,
    ) -> Result<String, HashError> {
        self.hash_at(self.shared.cost, password, salt, deadline).await
    }

    /// Whether this is the password of that hash, before `deadline`. What is no hash is nobody's.
    pub async fn verify(&self, password: Secret, hash: &str, deadline: Instant) -> Result<bool, HashError> {
        let Some((cost, salt)) = parts(hash) else { return Ok(false) };
        // No longer one was ever hashed.
        if password.expose().len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let found = self.hash_at(cost, password, salt, deadline).await?;
        Ok(same_hash(&found, hash))
    }

    async fn hash_at(
        &self,
        cost: u32,
        password: Secret,
        salt: [u8; 16],
        deadline: Instant,
    ) -> Result<String, HashError> {
        if password.expose().len() > LONGEST_PASSWORD {
            return Err(HashError::TooLong);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.push_prompt(Job {
            password,
            cost,
            salt,
            deadline: Some(deadline),
            reply: Reply::Waiting(reply),
        })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(hashed)) => hashed,
            Ok(Err(_)) => Err(HashError::Closing),
            // The estimate was wrong; a job nobody waits for is passed over.
            Err(_) => Err(HashError::Busy { retry_after: self.shared.queue.wait() }),
        }
    }

    /// The password's hash when its turn comes: `done` is called once, on a thread of the pool or, when the daemon is
    /// stopping, at once. The caller bounds how many it has under way.
    pub fn ahead(
        &self,
        password: Secret,
        salt: [u8; 16],
        done: impl FnOnce(Result<String, HashError>) + Send + 'static,
    ) {
        let reply = Reply::Ahead(Box::new(done));
        if password.expose().len() > LONGEST_PASSWORD {
            return reply.send(Err(HashError::TooLong));
        }
        if let Err(job) = self.shared.queue.push_ahead(Job {
            password,
            cost: self.shared.cost,
            salt,
            deadline: None,
            reply,
        }) {
            job.reply.send(Err(HashError::Closing));
        }
        self.shared.count();
    }

    /// How long a password that comes now would wait for its hash, about.
    pub fn wait(&self) -> Duration {
        self.shared.queue.wait()
    }
}

impl Shared {
    fn push_prompt(&self, job: Job) -> Result<(), HashError> {
        let pushed = self.queue.push_prompt(job);
        if let Err(HashError::Busy { .. }) = pushed {
            self.metrics.bound_hit.with_label_values(&["hash_queue"]).inc();
        }
        self.count();
        pushed
    }

    fn count(&self) {
        self.waiting.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
    }

    /// Until the queue is closed.
    fn work(&self) {
        while let Some(job) = self.queue.take(TURN) {
            self.count();
            let Some(Job { password, cost, salt, deadline, reply }) = job else { continue };
            let began = Instant::now();
            if reply.is_closed() || deadline.is_some_and(|deadline| began >= deadline) {
                self.queue.passed_over();
                reply.send(Err(HashError::Busy { retry_after: self.queue.wait() }));
                continue;
            }
            let hashed = bcrypt(&password, cost, salt);
            drop(password);
            self.queue.hashed(began.elapsed());
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
    // The cost is validated: nothing else can be wrong.
    let parts = bcrypt::hash_with_salt(password.expose(), cost, salt).map_err(|_| HashError::Closing)?;
    Ok(parts.to_string())
}

/// A hash made on the caller's thread, for tools.
pub fn hash_now(password: &Secret, cost: u32) -> Result<String, HashError> {
    bcrypt(password, cost, random_salt().map_err(|_| HashError::Closing)?)
}

/// Cost and salt of a hash.
fn parts(hash: &str) -> Option<(u32, [u8; 16])> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    // bcrypt's own base 64, which 16 bytes fill with 22 characters and two bits of the last one.
    let salt = salt::decoded(&parts.get_salt())?;
    Some((parts.get_cost(), salt))
}

/// Compares the digests behind cost and salt; which version letter stands before them says nothing.
fn same_hash(one: &str, other: &str) -> bool {
    /// Of 60 characters: `$2b$10$` and 22 of salt, then 31 of the digest.
    const DIGEST_AT: usize = 29;
    match (one.as_bytes().get(DIGEST_AT..), other.as_bytes().get(DIGEST_AT..)) {
        (Some(one), Some(other)) => same_bytes(one, other),
        _ => false,
    }
}

/// Who gets the hash.
enum Reply {
    Waiting(oneshot::Sender<Result<String, HashError>>),
    Ahead(Box<dyn FnOnce(Result<String, HashError>) + Send>),
}

impl Reply {
    fn is_closed(&self) -> bool {
        matches!(self, Self::Waiting(reply) if reply.is_closed())
    }

    fn send(self, hashed: Result<String, HashError>) {
        match self {
            // Whoever stopped waiting needs no answer.
            Self::Waiting(reply) => drop(reply.send(hashed)),
            Self::Ahead(done) => done(hashed),
        }
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
                tracing::warn!(%late, "a password is still being hashed");
            }
        }
    }
}

#[cfg(test)]
mod tests;
