//! The consumer's heartbeat, and its owner's wish that it stop.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::kafka::Interrupted;
use crate::task::StopSignal;

/// Beats, and listens.
pub(super) struct Heartbeat<'a> {
    stop: &'a StopSignal,
    beats: &'a AtomicU64,
    // Once asked, a thread stays asked.
    stopping: Cell<bool>,
}

impl<'a> Heartbeat<'a> {
    pub(super) fn new(stop: &'a StopSignal, beats: &'a AtomicU64) -> Self {
        Self { stop, beats, stopping: Cell::new(false) }
    }

    /// Alive; says whether to go on.
    pub(super) fn beat(&self) -> bool {
        self.sleep(Duration::ZERO)
    }

    /// The same after a rest.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        self.beats.fetch_add(1, Ordering::Relaxed);
        if !self.stopping.get() && self.stop.wait(time) {
            self.stopping.set(true);
        }
        !self.stopping.get()
    }
}

/// How often the owner is asked whether to go on.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// What a stop waits for that is under way.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Runs `work` on this thread, which is none of the runtime's.
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
