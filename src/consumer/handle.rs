//! Observable state of the consumer's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kafka::ReadError;
use crate::sync::Mutex;

use super::metrics::Metrics;
use super::progress::Progress;

/// State that the thread writes and a [`Handle`] reads.
#[derive(Default)]
pub(super) struct ConsumerState {
    pub(super) heartbeat: AtomicU64,
    pub(super) lag: AtomicI64,
    pub(super) progress: Progress,
    /// Why no records arrive, as reported by the Kafka client.
    pub(super) read_error: Mutex<Option<ReadError>>,
    /// Why nothing is currently applied.
    pub(super) problem: Mutex<Option<String>>,
    /// Settled offsets of `user.commands.v1`, by partition.
    pub(super) settled: Mutex<BTreeMap<i32, i64>>,
}

impl ConsumerState {
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.problem.lock() = trouble;
    }
}

/// A view of a running consumer.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<ConsumerState>,
    pub(super) metrics: Arc<Metrics>,
}

impl Handle {
    /// A counter that advances while the thread is alive, including while it waits.
    pub fn heartbeat(&self) -> u64 {
        self.shared.heartbeat.load(Ordering::Relaxed)
    }

    /// Why nothing is currently applied: the database's error, or that commands are pending and none was settled for 30
    /// s.
    pub fn problem(&self) -> Option<String> {
        self.blocked().or_else(|| self.shared.progress.stalled(Instant::now()))
    }

    /// The database's error while it cannot be written.
    pub fn blocked(&self) -> Option<String> {
        self.shared.problem.lock().clone()
    }

    /// Why no commands arrive, as reported by the Kafka client.
    pub fn read_error(&self) -> Option<ReadError> {
        self.shared.read_error.lock().clone()
    }

    /// For how long commands have been pending without one being settled, if that is at least 30 s.
    pub fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.shared.progress.stalled_for(now)
    }

    /// Number of commands that are read and not settled.
    pub fn pending(&self) -> usize {
        self.shared.progress.pending()
    }

    /// Settled offsets of `user.commands.v1`, by partition, as far as this process knows them. Every command before
    /// these offsets has an outcome or is parked.
    pub fn settled(&self) -> BTreeMap<i32, i64> {
        self.shared.settled.lock().clone()
    }

    /// Sets the gauges. Called before each scrape.
    pub fn observe(&self) {
        // The client's lag is some seconds old; the number of records already read is current.
        let pending = i64::try_from(self.shared.progress.pending()).unwrap_or(i64::MAX);
        self.metrics.lag.set(self.shared.lag.load(Ordering::Relaxed).max(pending));
        self.metrics.blocked.set(self.problem().is_some().into());
    }
}
