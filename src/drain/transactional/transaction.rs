//! What one transaction holds.

use std::time::{Duration, Instant};

use super::lane_positions::LanePositions;
use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::usage::Usage;
use crate::wal::{Confirmation, Lsn};

/// An open transaction.
pub(super) struct Transaction {
    /// Where the worker reads again if it comes to nothing.
    pub(super) from: Lsn,
    /// The only topic it takes, when it is to show whether that topic is well.
    pub(super) only_topic: Option<usize>,
    /// What its commit leads to.
    pub(super) positions: LanePositions,
    /// Its records that arrived, each with where.
    pub(super) acknowledged: Vec<(InFlightRecord, Confirmation)>,
    /// Whether the positions were sent: no record follows.
    pub(super) is_closed: bool,
    /// Whether they arrived.
    pub(super) is_positions_acknowledged: bool,
    /// Whether a commit was asked for: from then on only Kafka knows.
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
            acknowledged: Vec::new(),
            is_closed: false,
            is_positions_acknowledged: false,
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

    /// Whether one more record may be in it.
    pub(super) fn has_room(&self, bytes: u64, limit: Usage) -> bool {
        !self.is_closed && self.usage.fits_or_is_first(bytes, limit)
    }

    /// Whether it takes records of this topic; `proving`: only when it takes no other's.
    pub(super) fn accepts_topic(&self, topic: usize, proving: bool) -> bool {
        self.only_topic == Some(topic) || (self.only_topic.is_none() && !proving)
    }

    /// Whether it has gathered long enough.
    pub(super) fn is_due(&self, interval: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.started_at) >= interval
    }
}
