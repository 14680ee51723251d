//! When accounts logged in last, written behind: a login does not wait for the database.
//!
//! Times wait in a bounded queue, the newest of each account, and are written in batches. While the database is away
//! they stay; what there is no room for is written by itself at once, or is lost: the next login brings another.

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

/// A batch that was in the way of another transaction is written again at once, this often in all.
const MAX_ATTEMPTS: u32 = 3;
/// A database that is away is tried again after this long at first,
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// and after this long in the end.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How login times are written.
#[derive(Clone, Copy, Debug)]
pub struct LastLoginConfig {
    /// Accounts that may wait.
    pub buffer: usize,
    /// Accounts in one batch; as many are written at once.
    pub batch_size: usize,
    /// How long fewer may wait.
    pub flush_interval: Duration,
    /// How long one batch may take.
    pub timeout: Duration,
}

/// The login times that wait. Clones share them.
#[derive(Clone)]
pub struct LastLogins(Arc<Inner>);

struct Inner {
    config: LastLoginConfig,
    db: Database,
    queue: Mutex<LastLoginQueue>,
    /// Rung when there is a whole batch.
    batch_ready: Notify,
    /// Whose turn it is to write.
    write_lock: tokio::sync::Mutex<()>,
    waiting: IntGauge,
    overflow: IntCounter,
    lost: IntCounter,
}

impl LastLogins {
    /// Nothing is written in the background before [`LastLogins::run`].
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

    /// Remembers that `name` logged in. Waits for the database only when there is no room, and then no longer than the
    /// time-out of a batch.
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

    /// Writes as long as the task is held.
    pub fn run(&self) -> Task {
        let inner = Arc::clone(&self.0);
        Task::spawn("last-logins", async move { inner.write_behind().await })
    }

    /// Writes all that waits, for the stop, and says in the log what is left `within` that time.
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
            // Either is a reason.
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

    /// One batch, and more as long as they are whole.
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
        // Boxed: a login that writes nothing need not be as large as one that does.
        let written = Box::pin(async {
            let mut tries = 1;
            loop {
                match self.db.set_last_logins(logins).await {
                    Err(DbError::Busy(_)) if tries < MAX_ATTEMPTS => tries += 1,
                    other => return other.map(drop),
                }
            }
        });
        let late = |_| Err(DbError::Unavailable("login times took too long to write".to_owned()));
        timeout(self.config.timeout, written).await.unwrap_or_else(late)
    }

    fn with_queue<T>(&self, act: impl FnOnce(&mut LastLoginQueue) -> T) -> T {
        let mut queue = self.queue.lock();
        let done = act(&mut queue);
        self.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        done
    }
}

/// A batch that goes back to the queue, unless it was written: also when nobody waits for that any more.
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
