//! The consumer's heartbeat and stop signal.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::kafka::Interrupted;
use crate::task::StopSignal;

/// Reports heartbeats and checks the stop signal.
pub(super) struct Heartbeat<'a> {
    stop: &'a StopSignal,
    beats: &'a AtomicU64,
    // Once set, it stays set.
    stopping: Cell<bool>,
}

impl<'a> Heartbeat<'a> {
    pub(super) fn new(stop: &'a StopSignal, beats: &'a AtomicU64) -> Self {
        Self { stop, beats, stopping: Cell::new(false) }
    }

    /// Reports a heartbeat; returns whether to continue.
    pub(super) fn beat(&self) -> bool {
        self.sleep(Duration::ZERO)
    }

    /// Sleeps for `time` with heartbeats; returns whether to continue.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        self.beats.fetch_add(1, Ordering::Relaxed);
        if !self.stopping.get() && self.stop.wait(time) {
            self.stopping.set(true);
        }
        !self.stopping.get()
    }
}

/// Interval of heartbeats and of checks of the stop signal.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// How long a stop waits for work in progress.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Runs `work` on this thread, which must not be one of the runtime's.
pub(super) fn block_on<T>(
    runtime: &Handle,
    heartbeat: &Heartbeat<'_>,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    runtime.block_on(async {
        let mut work = std::pin::pin!(work);
        let mut until: Option<Instant> = None;
        loop {
            if let Ok(result) = tokio::time::timeout(BEAT_INTERVAL, &mut work).await {
                return Ok(result);
            }
            if !heartbeat.beat()
                && Instant::now() >= *until.get_or_insert_with(|| Instant::now() + STOP_GRACE)
            {
                return Err(Interrupted);
            }
        }
    })
}
