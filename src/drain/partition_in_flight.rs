//! What one worker has in flight to one partition, and whether that partition is slow.

use std::time::{Duration, Instant};

use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::usage::Usage;

/// A broker that is well confirms within milliseconds; a partition that confirms nothing for this long hangs.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// A partition that holds up its worker for this long, while no other one has anything to do, is slow.
pub(super) const SLOW: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct PartitionInFlight {
    pub(super) usage: Usage,
    pub(super) solo: u64,
    /// Those of them that have no key, and no order to keep.
    pub(super) unordered: u64,
    // The last confirmation, or the first record after nothing was in flight.
    pub(super) progress_at: Instant,
    pub(super) parked: bool,
    // How many records the worker's partitions had confirmed before, and how many this one has since.
    born: u64,
    confirmed: u64,
    // When a record of it last had to wait, if none was sent since.
    refused_at: Option<Instant>,
    // For how long its records kept the window idle.
    idle: Duration,
    // Slow until no more records than this are in flight.
    slow: Option<u64>,
}

impl PartitionInFlight {
    /// Nothing is in flight. `confirmed`: how many records the worker's partitions have confirmed so far.
    pub(super) fn new(confirmed: u64, now: Instant) -> Self {
        Self {
            usage: Usage::default(),
            solo: 0,
            unordered: 0,
            progress_at: now,
            parked: false,
            born: confirmed,
            confirmed: 0,
            refused_at: None,
            idle: Duration::ZERO,
            slow: None,
        }
    }

    /// A record was sent.
    pub(super) fn add(&mut self, flight: &InFlightRecord) {
        self.usage.add(flight.bytes);
        self.solo += u64::from(flight.solo);
        self.unordered += u64::from(flight.unordered);
        self.refused_at = None;
    }

    /// A record was confirmed: the partition does not hang.
    pub(super) fn on_confirmed(&mut self, now: Instant) {
        (self.progress_at, self.parked) = (now, false);
        self.confirmed += 1;
    }

    /// Whether it has records in flight and confirmed none for too long.
    pub(super) fn has_stalled(&self, now: Instant) -> bool {
        self.usage.records > 0 && now.saturating_duration_since(self.progress_at) >= STALL
    }

    /// Whether it confirmed something just now, or was only just sent something.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progress_at) < SLOW
    }

    /// A record has to wait, and its worker with it. `busy`: whether another partition is at work; `confirmed`: as in
    /// [`Self::new`]. Says whether this one is slow: for some time no other was at work, although others confirm what
    /// they are sent.
    pub(super) fn on_blocked(&mut self, busy: bool, confirmed: u64, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.refused_at.replace(now).unwrap_or(now));
        self.idle = if busy { self.idle.saturating_sub(waited) } else { self.idle + waited.min(SLOW) };
        if self.idle < SLOW || confirmed <= self.born + self.confirmed {
            return false;
        }
        // It is soon found again if it stays so.
        self.idle = SLOW / 2;
        self.slow = Some(self.usage.records / 2);
        true
    }

    /// Whether it was slow and still has much in flight.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.is_some_and(|slow| self.usage.records > slow)
    }
}
