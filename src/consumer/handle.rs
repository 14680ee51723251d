//! What may be seen of the consumer's thread while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kafka::ReadError;
use crate::sync::Mutex;

use super::metrics::Metrics;
use super::progress::Progress;

/// What the thread writes and a [`Handle`] reads.
#[derive(Default)]
pub(super) struct ConsumerState {
    pub(super) heartbeat: AtomicU64,
    pub(super) lag: AtomicI64,
    pub(super) progress: Progress,
    /// Why no records come, in the client's words.
    pub(super) read_error: Mutex<Option<ReadError>>,
    /// Why nothing is applied now.
    pub(super) problem: Mutex<Option<String>>,
    /// Where `user.commands.v1` is settled up to, by partition.
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
    /// A number that changes while the thread is alive, also while it waits.
    pub fn heartbeat(&self) -> u64 {
        self.shared.heartbeat.load(Ordering::Relaxed)
    }

    /// Why nothing is applied now, if so: what the database says, or that commands are pending and none was settled for
    /// half a minute.
    pub fn problem(&self) -> Option<String> {
        self.blocked().or_else(|| self.shared.progress.stalled(Instant::now()))
    }

    /// What the database says while it cannot be written.
    pub fn blocked(&self) -> Option<String> {
        self.shared.problem.lock().clone()
    }

    /// What keeps commands from coming, in the Kafka client's words.
    pub fn read_error(&self) -> Option<ReadError> {
        self.shared.read_error.lock().clone()
    }

    /// For how long commands have been pending of which none was settled, if that is half a minute or longer.
    pub fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.shared.progress.stalled_for(now)
    }

    /// Commands that are read and not settled.
    pub fn pending(&self) -> usize {
        self.shared.progress.pending()
    }

    /// Where `user.commands.v1` is settled up to, by partition, as far as this process has come across it: everything
    /// before these offsets has an outcome or is parked.
    pub fn settled(&self) -> BTreeMap<i32, i64> {
        self.shared.settled.lock().clone()
    }

    /// Sets the gauges. Called before each scrape.
    pub fn observe(&self) {
        // The client's figure is some seconds old: what was read is known now.
        let pending = i64::try_from(self.shared.progress.pending()).unwrap_or(i64::MAX);
        self.metrics.lag.set(self.shared.lag.load(Ordering::Relaxed).max(pending));
        self.metrics.blocked.set(self.problem().is_some().into());
    }
}
