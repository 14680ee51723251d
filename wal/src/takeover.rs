//! Notes about transactions with Kafka, made durable in the checkpoint. See [`Transactions`].

use std::io;

use super::log::Log;
use super::transactions::{Epoch, Transactions};
use crate::units::{Lsn, Timestamp};

impl Log {
    /// What is remembered of transactions.
    pub fn transactions(&self) -> Transactions {
        self.lock_transactions().clone()
    }

    /// From now on ids below `ids` may be in use, and no others. Durable when it returns.
    pub fn reserve_transactional_ids(&self, ids: u64) -> io::Result<()> {
        self.lock_transactions().ids = Some(ids);
        self.checkpoint(Timestamp::now()).map(drop)
    }

    /// This life is about to take over from the lives before it, all of which are fenced. `named`: the incarnations in
    /// Kafka's messages; no other can appear any more. Until [`Self::finish_takeover`] this life reaches no further
    /// than its beginning: it repeats the positions of others and delivers nothing of its own. Durable when it returns.
    pub fn begin_takeover(&self, named: &[[u8; 16]]) -> io::Result<()> {
        let life = Epoch { incarnation: self.identity.incarnation, from: self.start_lsn, to: self.start_lsn };
        self.lock_transactions().begin_epoch(life, named);
        self.checkpoint(Timestamp::now()).map(drop)
    }

    /// Kafka's messages name this life alone, which delivers from now on, and only ids below `ids` are in use. Durable
    /// when it returns.
    pub fn finish_takeover(&self, ids: u64) -> io::Result<()> {
        self.lock_transactions().open(&self.identity.incarnation);
        self.reserve_transactional_ids(ids)
    }

    /// Counts records as done that an earlier life delivered, as Kafka says. Where it put them is not known.
    pub fn mark_delivered(&self, records: impl Iterator<Item = (Lsn, u64)>) {
        self.mark_done(records);
    }
}
