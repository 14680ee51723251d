//! What one transaction holds.

use std::time::{Duration, Instant};

use super::positions::Positions;
use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::usage::Usage;
use crate::wal::{Confirmation, Lsn};

/// An open transaction.
pub(super) struct Transaction {
    /// Where the worker reads again if it comes to nothing.
    pub(super) from: Lsn,
    /// The only topic it takes, when it is to show whether that topic is well.
    pub(super) only: Option<usize>,
    /// What its commit leads to.
    pub(super) positions: Positions,
    /// Its records that arrived, each with where.
    pub(super) arrived: Vec<(InFlightRecord, Confirmation)>,
    /// Whether the positions were sent: no record follows.
    pub(super) is_closed: bool,
    /// Whether they arrived.
    pub(super) is_noted: bool,
    /// Whether a commit was asked for: from then on only Kafka knows.
    pub(super) is_committing: bool,
    began: Instant,
    load: Usage,
}

impl Transaction {
    pub(super) fn new(from: Lsn, only: Option<usize>, positions: Positions, now: Instant) -> Self {
        Self {
            from,
            only,
            positions,
            arrived: Vec::new(),
            is_closed: false,
            is_noted: false,
            is_committing: false,
            began: now,
            load: Usage::default(),
        }
    }

    /// A record was sent.
    pub(super) fn add(&mut self, lane: u8, lsn: Lsn, bytes: u64) {
        self.positions.pass(lane, lsn);
        self.load.records += 1;
        self.load.bytes += bytes;
    }

    /// Whether one more record may be in it.
    pub(super) fn has_room(&self, bytes: u64, limit: Usage) -> bool {
        !self.is_closed && self.load.fits_or_is_first(bytes, limit)
    }

    /// Whether it takes records of this topic; `proving`: only when it takes no other's.
    pub(super) fn takes(&self, topic: usize, proving: bool) -> bool {
        self.only == Some(topic) || (self.only.is_none() && !proving)
    }

    /// Whether it has gathered long enough.
    pub(super) fn is_due(&self, interval: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= interval
    }
}
