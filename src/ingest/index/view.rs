//! The content of the index at one moment: parts on disk, and two maps in memory for records that are in no part yet.

use std::collections::HashMap;
use std::sync::Arc;

use super::ScopeDigest;
use super::part::IndexPart;
use crate::wal::{Log, Lsn};

/// The keys of a range of LSNs, in memory.
pub struct MemTable {
    pub from: Lsn,
    pub to: Lsn,
    /// Maps a scope to its newest first record.
    pub keys: HashMap<ScopeDigest, Lsn>,
}

/// Everything the index knows. A range of retained LSNs that neither a part nor a map covers is a *gap*.
pub struct IndexView {
    /// Parts in LSN order, without overlaps.
    pub parts: Vec<Arc<IndexPart>>,
    /// The map that is being flushed to a part.
    pub frozen: Option<Arc<MemTable>>,
    /// The map that the commit thread adds to. It ends where the log ends.
    pub recent: MemTable,
    /// Whether no gap exists. Only then is a miss reliable.
    pub ready: bool,
}

impl IndexView {
    /// The first LSN from which all records are in memory.
    pub fn memory_start(&self) -> Lsn {
        self.frozen.as_ref().map_or(self.recent.from, |frozen| frozen.from)
    }

    /// The newest record of the scope that is in memory.
    pub fn in_memory(&self, scope: &ScopeDigest) -> Option<Lsn> {
        let recent = self.recent.keys.get(scope);
        recent.or_else(|| self.frozen.as_ref()?.keys.get(scope)).copied()
    }

    /// The first gap.
    pub fn gap(&self, log: &Log) -> Option<(Lsn, Lsn)> {
        let mut from = log.oldest_retained();
        let ends = self.parts.iter().map(|part| (part.from(), part.to()));
        for (next, end) in ends.chain([(self.memory_start(), self.memory_start())]) {
            if from < next && log.count_retained(from, next) > 0 {
                return Some((from, next));
            }
            from = from.max(end);
        }
        None
    }

    /// Inserts a part in LSN order.
    pub fn insert(&mut self, part: Arc<IndexPart>) {
        let at = self.parts.partition_point(|other| other.from() < part.from());
        self.parts.insert(at, part);
    }

    /// Removes a part; returns `false` if it was already removed.
    pub fn remove(&mut self, part: &Arc<IndexPart>) -> bool {
        let before = self.parts.len();
        self.parts.retain(|other| !Arc::ptr_eq(other, part));
        self.parts.len() < before
    }

    /// Clears the view. Records committed later are added as usual.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.frozen = None;
        self.clear_recent();
    }

    /// Clears the map that the commit thread adds to, which leaves a gap.
    pub fn clear_recent(&mut self) {
        self.recent = MemTable::empty(self.recent.to);
        self.ready = false;
    }
}

impl MemTable {
    /// An empty map that begins at this LSN.
    pub fn empty(at: Lsn) -> Self {
        Self { from: at, to: at, keys: HashMap::new() }
    }
}
