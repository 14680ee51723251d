//! One worker's records in flight to one partition, and whether that partition is slow.

use std::time::{Duration, Instant};

use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::usage::Usage;

/// A partition that confirms nothing for this long is stalled. A healthy broker confirms within milliseconds.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(1);
/// A partition is slow when it blocks its worker for this long while no other partition has work.
pub(super) const SLOW_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct PartitionInFlight {
    pub(super) usage: Usage,
    pub(super) solo: u64,
    /// Records without a key, whose order does not matter.
    pub(super) unordered: u64,
    // Time of the last confirmation, or of the first record after nothing was in flight.
    pub(super) progress_at: Instant,
    pub(super) parked: bool,
    // Number of records the worker's partitions had confirmed when this one was created, and number this one has
    // confirmed since.
    born: u64,
    confirmed: u64,
    // When a record of this partition last had to wait, if none was sent since.
    refused_at: Option<Instant>,
    // How long its records kept the worker idle.
    idle: Duration,
    // If set, the partition is slow until at most this many records are in flight.
    slow: Option<u64>,
}

impl PartitionInFlight {
    /// Starts with nothing in flight. `confirmed` is the number of records the worker's partitions have confirmed so
    /// far.
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

    /// A record was confirmed, so the partition is not stalled.
    pub(super) fn on_confirmed(&mut self, now: Instant) {
        (self.progress_at, self.parked) = (now, false);
        self.confirmed += 1;
    }

    /// Whether it has records in flight and has confirmed none for too long.
    pub(super) fn has_stalled(&self, now: Instant) -> bool {
        self.usage.records > 0 && now.saturating_duration_since(self.progress_at) >= STALLED_AFTER
    }

    /// Whether it has just confirmed a record or just been sent one.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progress_at) < SLOW_AFTER
    }

    /// A record has to wait, and its worker with it. `busy` is whether another partition has work. `confirmed` is as
    /// in [`Self::new`]. Returns whether this partition is slow: for some time no other one had work, although the
    /// others confirm their records.
    pub(super) fn on_blocked(&mut self, busy: bool, confirmed: u64, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.refused_at.replace(now).unwrap_or(now));
        self.idle = if busy { self.idle.saturating_sub(waited) } else { self.idle + waited.min(SLOW_AFTER) };
        if self.idle < SLOW_AFTER || confirmed <= self.born + self.confirmed {
            return false;
        }
        // If the partition stays slow, it is soon detected again.
        self.idle = SLOW_AFTER / 2;
        self.slow = Some(self.usage.records / 2);
        true
    }

    /// Whether it was slow and still has many records in flight.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.is_some_and(|slow| self.usage.records > slow)
    }
}
