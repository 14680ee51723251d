//! Takeover: stores the state of Kafka transactions durably, in the checkpoint. See [`Transactions`].

use std::io;

use super::log::Log;
use super::transactions::{Epoch, Transactions};
use crate::units::{Lsn, Timestamp};

impl Log {
    /// State of the transactions.
    pub fn transactions(&self) -> Transactions {
        self.lock_transactions().clone()
    }

    /// Records that ids below `ids` may be used, and no others. Durable when this returns.
    pub fn reserve_transactional_ids(&self, ids: u64) -> io::Result<()> {
        self.lock_transactions().ids = Some(ids);
        self.checkpoint(Timestamp::now()).map(drop)
    }

    /// Begins the takeover from the epochs before this one, all of which are fenced. `named` are the incarnations in
    /// Kafka's messages; no other can appear any more. Until [`Self::finish_takeover`], this epoch ends at its own
    /// beginning: it repeats the positions of earlier epochs and delivers nothing of its own. Durable when this
    /// returns.
    pub fn begin_takeover(&self, named: &[[u8; 16]]) -> io::Result<()> {
        let epoch =
            Epoch { incarnation: self.identity.incarnation, from: self.start_lsn, to: self.start_lsn };
        self.lock_transactions().begin_epoch(epoch, named);
        self.checkpoint(Timestamp::now()).map(drop)
    }

    /// Ends the takeover: Kafka's messages name only this epoch, which delivers from now on, and only ids below `ids`
    /// are in use. Durable when this returns.
    pub fn finish_takeover(&self, ids: u64) -> io::Result<()> {
        self.lock_transactions().open(&self.identity.incarnation);
        self.reserve_transactional_ids(ids)
    }

    /// Marks records as done that an earlier run delivered, according to Kafka. Their Kafka positions are unknown.
    pub fn mark_delivered(&self, records: impl Iterator<Item = (Lsn, u64)>) {
        self.mark_done(records);
    }
}
