//! Control state for all workers and the reader.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::sync::Mutex;
use crate::wal::Lsn;

/// State that the operator, the shutdown and the release pacer set.
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

    /// Records at and above this LSN are still gathered. Workers do not read them yet.
    pub(super) fn released(&self) -> Lsn {
        Lsn(self.released.load(Ordering::Acquire))
    }

    /// Lets workers read all records below this LSN.
    pub(super) fn release(&self, end: Lsn) {
        self.released.store(end.0, Ordering::Release);
    }

    /// Workers begin nothing new and end by `deadline`.
    pub(super) fn request_stop(&self, deadline: Instant) {
        *self.stop_by.lock() = Some(deadline);
    }

    /// The deadline of a requested stop.
    pub(super) fn stop_by(&self) -> Option<Instant> {
        *self.stop_by.lock()
    }
}
