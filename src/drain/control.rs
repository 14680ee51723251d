//! What all workers and the reader are told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::sync::Mutex;
use crate::wal::Lsn;

/// By the operator, the stop, and the pacer.
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
    pub(super) fn request_stop(&self, deadline: Instant) {
        *self.stop_by.lock() = Some(deadline);
    }

    /// When to end, once that is asked.
    pub(super) fn stop_by(&self) -> Option<Instant> {
        *self.stop_by.lock()
    }
}
