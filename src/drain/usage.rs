//! Records and their bytes, and the bounds of what all workers together may have in flight: 24 MiB.

use std::sync::atomic::{AtomicU64, Ordering};

/// The windows of all workers together: at 300 bytes a record 32,768 records are 10 MiB, 0.2 s of the fastest drain
/// measured.
pub(super) const MAX_IN_FLIGHT: Usage = Usage { records: 32_768, bytes: 16 << 20 };
/// Extra room of all workers together: eight of the largest records a broker takes by default.
const MAX_EXTRA_BYTES: u64 = 8 << 20;

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Usage {
    pub(super) fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    pub(super) fn sub(&mut self, bytes: u64) {
        self.records -= 1;
        self.bytes -= bytes;
    }

    /// As [`Self::has_room`], but the first always fits: a record may be larger than its limit.
    pub(super) fn fits_or_is_first(self, bytes: u64, limit: Self) -> bool {
        self.records == 0 || self.has_room(bytes, limit)
    }

    /// Whether one more fits.
    pub(super) fn has_room(self, bytes: u64, limit: Self) -> bool {
        self.records < limit.records && self.bytes + bytes <= limit.bytes
    }
}

/// Bytes in flight beside the windows: one record for each worker at a time.
#[derive(Debug, Default)]
pub(super) struct ExtraRoom(AtomicU64);

impl ExtraRoom {
    /// One record always fits: it may be larger than the limit.
    pub(super) fn try_acquire(&self, bytes: u64) -> bool {
        let more = |used: u64| (used == 0 || used + bytes <= MAX_EXTRA_BYTES).then_some(used + bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
