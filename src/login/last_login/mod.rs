//! Writes the times of last logins in the background. A login does not wait for the database.
//!
//! Times wait in a bounded queue, the newest per account, and are written in batches. They stay in the queue while the
//! database is unavailable. If the queue is full, a time is written at once, or lost; the next login replaces it.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use crate::backoff::Backoff;
use crate::db::{Database, DbError};
use crate::sync::Mutex;
use crate::task::Task;
use crate::units::Timestamp;

use queue::LastLoginQueue;

/// Attempts to write a batch that conflicts with another transaction, without a delay between them.
const MAX_ATTEMPTS: u32 = 3;
/// First delay before a retry when the database is unavailable.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum delay.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Settings of the background writes.
#[derive(Clone, Copy, Debug)]
pub struct LastLoginConfig {
    /// Maximum number of waiting accounts.
    pub buffer: usize,
    /// Accounts per batch. A full batch is written at once.
    pub batch_size: usize,
    /// Maximum wait of an incomplete batch.
    pub flush_interval: Duration,
    /// Timeout of one batch.
    pub timeout: Duration,
}

/// The queue of login times. Clones share it.
#[derive(Clone)]
pub struct LastLogins(Arc<Inner>);

struct Inner {
    config: LastLoginConfig,
    db: Database,
    queue: Mutex<LastLoginQueue>,
    /// Notified when a batch is complete.
    batch_ready: Notify,
    /// Held during a write.
    write_lock: tokio::sync::Mutex<()>,
    waiting: IntGauge,
    overflow: IntCounter,
    lost: IntCounter,
}

impl LastLogins {
    /// An empty queue. Nothing is written in the background before [`LastLogins::run`].
    pub fn new(config: LastLoginConfig, db: Database, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            queue: Mutex::new(LastLoginQueue::new(config.buffer)),
            config,
            db,
            batch_ready: Notify::new(),
            write_lock: tokio::sync::Mutex::default(),
            waiting: metrics.last_logins_waiting.clone(),
            overflow: metrics.last_logins_hit.clone(),
            lost: metrics.last_logins_lost.clone(),
        }))
    }

    /// Records that `name` logged in. Waits for the database only if the queue is full, for at most the timeout of a
    /// batch.
    pub async fn record(&self, name: &str, at: Timestamp) {
        let inner = &self.0;
        let (kept, len) = inner.with_queue(|queue| (queue.put(name, at), queue.len()));
        if len >= inner.config.batch_size {
            inner.batch_ready.notify_one();
        }
        if kept {
            return;
        }
        inner.overflow.inc();
        if let Err(error) = inner.write(&[(name.to_owned(), at)]).await {
            inner.lost.inc();
            tracing::debug!(%error, "login time not written");
        }
    }

    /// Writes in the background until the returned task is dropped.
    pub fn run(&self) -> Task {
        let inner = Arc::clone(&self.0);
        Task::spawn("last-logins", async move { inner.write_behind().await })
    }

    /// Writes all waiting times at shutdown, and logs the number that remain after `within`.
    pub async fn flush(&self, within: Duration) {
        let inner = &self.0;
        let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        let all = async {
            while inner.with_queue(|queue| queue.len()) > 0 {
                if inner.write_batch().await.is_err() {
                    sleep(backoff.delay()).await;
                }
            }
        };
        if timeout(within, all).await.is_err() {
            let left = inner.with_queue(|queue| queue.len());
            tracing::warn!(
                event = "login.times_lost",
                login.times = left,
                "login times not written: the database did not accept them before the stop"
            );
        }
    }
}

impl Inner {
    async fn write_behind(&self) {
        let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        let mut well = true;
        loop {
            // Write after either event.
            let _ = timeout(self.config.flush_interval, self.batch_ready.notified()).await;
            while let Err(error) = self.write_whole_batches().await {
                if std::mem::replace(&mut well, false) {
                    tracing::warn!(
                        event = "login.times_delayed",
                        %error,
                        "login times wait until the database accepts them"
                    );
                }
                sleep(backoff.delay()).await;
            }
            backoff.reset();
            if !std::mem::replace(&mut well, true) {
                tracing::info!(event = "login.times_written", "login times are written again");
            }
        }
    }

    /// Writes batches until less than a full batch remains.
    async fn write_whole_batches(&self) -> Result<(), DbError> {
        loop {
            self.write_batch().await?;
            if self.with_queue(|queue| queue.len()) < self.config.batch_size {
                return Ok(());
            }
        }
    }

    async fn write_batch(&self) -> Result<(), DbError> {
        let _turn = self.write_lock.lock().await;
        let mut taken = UnwrittenBatch {
            inner: self,
            logins: self.with_queue(|queue| queue.take(self.config.batch_size)),
        };
        if !taken.logins.is_empty() {
            self.write(&taken.logins).await?;
            taken.logins.clear();
        }
        Ok(())
    }

    async fn write(&self, logins: &[(String, Timestamp)]) -> Result<(), DbError> {
        // Boxed, so that the future of a login that writes nothing stays small.
        let written = Box::pin(async {
            let mut tries = 1;
            loop {
                match self.db.set_last_logins(logins).await {
                    Err(DbError::Busy(_)) if tries < MAX_ATTEMPTS => tries += 1,
                    other => return other.map(drop),
                }
            }
        });
        let late = |_| Err(DbError::Unavailable("writing login times timed out".to_owned()));
        timeout(self.config.timeout, written).await.unwrap_or_else(late)
    }

    fn with_queue<T>(&self, act: impl FnOnce(&mut LastLoginQueue) -> T) -> T {
        let mut queue = self.queue.lock();
        let done = act(&mut queue);
        self.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        done
    }
}

/// A batch that returns to the queue unless it was written, also if its writer was dropped.
struct UnwrittenBatch<'a> {
    inner: &'a Inner,
    logins: Vec<(String, Timestamp)>,
}

impl Drop for UnwrittenBatch<'_> {
    fn drop(&mut self) {
        let logins = std::mem::take(&mut self.logins);
        let missed = self.inner.with_queue(|queue| queue.put_back(logins));
        self.inner.lost.inc_by(u64::try_from(missed).unwrap_or(u64::MAX));
    }
}
