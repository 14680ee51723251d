//! State of one transaction.

use std::time::{Duration, Instant};

use super::lane_positions::LanePositions;
use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::usage::Usage;
use crate::wal::{Confirmation, Lsn};

/// An open transaction.
pub(super) struct Transaction {
    /// The record at which the worker reads again if the transaction is aborted.
    pub(super) from: Lsn,
    /// If set, the transaction contains only this topic, to find out whether the topic is healthy.
    pub(super) only_topic: Option<usize>,
    /// The positions that its commit stores.
    pub(super) positions: LanePositions,
    /// Its confirmed records, with their confirmations.
    pub(super) confirmed: Vec<(InFlightRecord, Confirmation)>,
    /// Whether the positions were sent. No record follows them.
    pub(super) is_closed: bool,
    /// Whether the positions were confirmed.
    pub(super) are_positions_confirmed: bool,
    /// Whether a commit was requested. From then on only Kafka knows the outcome.
    pub(super) is_committing: bool,
    started_at: Instant,
    usage: Usage,
}

impl Transaction {
    pub(super) fn new(from: Lsn, only: Option<usize>, positions: LanePositions, now: Instant) -> Self {
        Self {
            from,
            only_topic: only,
            positions,
            confirmed: Vec::new(),
            is_closed: false,
            are_positions_confirmed: false,
            is_committing: false,
            started_at: now,
            usage: Usage::default(),
        }
    }

    /// A record was sent.
    pub(super) fn add(&mut self, lane: u8, lsn: Lsn, bytes: u64) {
        self.positions.advance(lane, lsn);
        self.usage.records += 1;
        self.usage.bytes += bytes;
    }

    /// Whether the limit allows one more record.
    pub(super) fn has_room(&self, bytes: u64, limit: Usage) -> bool {
        !self.is_closed && self.usage.fits_or_is_first(bytes, limit)
    }

    /// Whether it accepts records of this topic. With `proving`, only if it contains no other topic.
    pub(super) fn accepts_topic(&self, topic: usize, proving: bool) -> bool {
        self.only_topic == Some(topic) || (self.only_topic.is_none() && !proving)
    }

    /// Whether the interval for gathering records has passed.
    pub(super) fn is_due(&self, interval: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.started_at) >= interval
    }
}
