//! Published state of one worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::drain::notify::Notify;
use crate::kafka::{ErrorCode, is_denial};
use crate::sync::{Mutex, MutexGuard};
use crate::wal::Lsn;

/// A permission that Kafka denies a producer before its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Identifies the missing permission.
    pub code: ErrorCode,
    /// The error text of the Kafka client.
    pub text: String,
}

impl Denial {
    /// Returns the denial, if the error is one.
    pub(super) fn from_code(code: ErrorCode, text: impl Into<String>) -> Option<Self> {
        is_denial(code).then(|| Self { code, text: text.into() })
    }
}

/// State of one worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerState {
    /// Index of the worker.
    pub index: usize,
    /// `running`, `waiting`, `paused` or `rebuilding`.
    pub state: &'static str,
    /// Records handed to its producer and not confirmed.
    pub in_flight: usize,
    /// How long there have been records to deliver without a confirmation from any broker.
    pub unconfirmed_for: Duration,
    /// Parked records by topic.
    pub parked: BTreeMap<String, u64>,
    /// Why they are parked, by topic.
    pub parked_because: BTreeMap<String, &'static str>,
    /// Topics that the brokers reject, with the reason.
    pub refused: BTreeMap<String, &'static str>,
    /// The lowest record that is neither confirmed nor parked.
    #[serde(skip)]
    pub oldest_waiting: Option<Lsn>,
    /// The permission that its last producer was denied. `None` once a producer is permitted.
    #[serde(skip)]
    pub denied: Option<Denial>,
}

/// Number of a topic, the number of its parked records, and why they are parked.
pub(super) type ParkedTopic = (usize, u64, &'static str);

/// State of a worker that may send nothing new.
pub(super) const PAUSED: &str = "paused";
/// All values of [`WorkerState::state`].
pub(super) const STATES: [&str; 4] = ["running", "waiting", PAUSED, "rebuilding"];

/// The value of [`WorkerState::state`] for these conditions.
pub(super) fn state_name(is_paused: bool, is_connected: bool, is_busy: bool) -> &'static str {
    match () {
        () if is_paused => PAUSED,
        () if !is_connected => "rebuilding",
        () if is_busy => "running",
        () => "waiting",
    }
}

/// One worker's heartbeat, state and notification.
pub(super) struct WorkerMonitor {
    pub(super) notify: Arc<Notify>,
    pub(super) heartbeat: AtomicU64,
    state: Mutex<WorkerState>,
}

impl WorkerMonitor {
    pub(super) fn new(index: usize) -> Self {
        let state = WorkerState {
            index,
            state: "waiting",
            in_flight: 0,
            unconfirmed_for: Duration::ZERO,
            parked: BTreeMap::new(),
            parked_because: BTreeMap::new(),
            refused: BTreeMap::new(),
            oldest_waiting: None,
            denied: None,
        };
        Self { notify: Arc::default(), heartbeat: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock()
    }

    /// The worker is alive.
    pub(super) fn beat(&self) {
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
    }
}
