//! What the workers share with the rest of the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::Serialize;

use crate::drain::bell::Bell;
use crate::drain::lead::Lead;
use crate::drain::load::Extra;
use crate::drain::prepare::Prepare;
use crate::metrics::Metrics;
use crate::status::Statuses;
use crate::wal::Log;
use crate::wal::Lsn;

/// What every worker works with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) log: Arc<Log>,
    pub(super) statuses: Statuses,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lead: Option<Arc<Lead>>,
    pub(super) prepare: Arc<dyn Prepare>,
    /// Room in flight beside the workers' windows.
    pub(super) extra: Arc<Extra>,
}

impl Parts {
    pub(super) fn new(
        log: Arc<Log>,
        statuses: Statuses,
        metrics: Arc<Metrics>,
        lead: Option<Arc<Lead>>,
        prepare: Arc<dyn Prepare>,
    ) -> Self {
        Self { log, statuses, metrics, lead, prepare, extra: Arc::default() }
    }
}

/// What one worker is doing.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerState {
    /// Its number.
    pub index: usize,
    /// `running`, `waiting`, `paused` or `rebuilding`.
    pub state: &'static str,
    /// Records handed to its producer and not confirmed.
    pub in_flight: usize,
    /// Whether there is something to deliver and no broker confirms anything.
    pub stalled: bool,
    /// Records held back, by topic.
    pub parked: BTreeMap<String, u64>,
    /// The lowest record that is neither confirmed nor held back.
    #[serde(skip)]
    pub oldest_waiting: Option<Lsn>,
}

/// It may begin nothing new.
pub(super) const PAUSED: &str = "paused";
/// All values of [`WorkerState::state`].
pub(super) const STATES: [&str; 4] = ["running", "waiting", PAUSED, "rebuilding"];

/// The one of them that says what a worker does.
pub(super) fn activity(is_paused: bool, is_connected: bool, is_busy: bool) -> &'static str {
    match () {
        () if is_paused => PAUSED,
        () if !is_connected => "rebuilding",
        () if is_busy => "running",
        () => "waiting",
    }
}

/// One worker's part of the board.
pub(super) struct Post {
    pub(super) bell: Arc<Bell>,
    pub(super) beats: AtomicU64,
    state: Mutex<WorkerState>,
}

impl Post {
    pub(super) fn new(index: usize) -> Self {
        let state = WorkerState {
            index,
            state: "waiting",
            in_flight: 0,
            stalled: false,
            parked: BTreeMap::new(),
            oldest_waiting: None,
        };
        Self { bell: Arc::default(), beats: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker is alive.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all workers are told.
pub(super) struct Control {
    pub(super) paused: AtomicBool,
    stop_by: Mutex<Option<Instant>>,
    released: AtomicU64,
}

impl Control {
    /// Records below `released` may be delivered.
    pub(super) fn new(released: Lsn) -> Self {
        Self {
            paused: AtomicBool::new(false),
            stop_by: Mutex::default(),
            released: AtomicU64::new(released.0),
        }
    }

    /// Records at and above this number are still gathered: workers do not read them yet.
    pub(super) fn released(&self) -> Lsn {
        Lsn(self.released.load(Ordering::Acquire))
    }

    /// Workers may read everything below this number.
    pub(super) fn release(&self, end: Lsn) {
        self.released.store(end.0, Ordering::Release);
    }

    /// Begin nothing new; end by then.
    pub(super) fn stop(&self, deadline: Instant) {
        *self.stop_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }

    /// When to end, once that is asked.
    pub(super) fn stop_by(&self) -> Option<Instant> {
        *self.stop_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
