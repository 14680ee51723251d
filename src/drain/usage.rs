//! Counts of records and bytes, and the limits of all workers' records in flight: 24 MiB in total.

use std::sync::atomic::{AtomicU64, Ordering};

/// Limit of all workers together. At 300 bytes per record, 32,768 records are 10 MiB, or 0.2 s of the fastest
/// measured drain.
pub(super) const MAX_IN_FLIGHT: Usage = Usage { records: 32_768, bytes: 16 << 20 };
/// Extra limit of all workers together: eight records of the largest size that a broker accepts by default.
const MAX_EXTRA_BYTES: u64 = 8 << 20;

/// A number of records and their bytes.
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

    /// Like [`Self::has_room`], but the first record always fits, because a record may be larger than its limit.
    pub(super) fn fits_or_is_first(self, bytes: u64, limit: Self) -> bool {
        self.records == 0 || self.has_room(bytes, limit)
    }

    /// Whether one more record fits.
    pub(super) fn has_room(self, bytes: u64, limit: Self) -> bool {
        self.records < limit.records && self.bytes + bytes <= limit.bytes
    }
}

/// Bytes in flight beyond the workers' own limits: one record per worker at a time.
#[derive(Debug, Default)]
pub(super) struct ExtraRoom(AtomicU64);

impl ExtraRoom {
    /// Reserves budget for one record. The first always fits, because it may be larger than the limit.
    pub(super) fn try_acquire(&self, bytes: u64) -> bool {
        let more = |used: u64| (used == 0 || used + bytes <= MAX_EXTRA_BYTES).then_some(used + bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
