//! What the index consists of at a moment: parts on disk, and two maps in memory for what is in no part yet.

use std::collections::HashMap;
use std::sync::Arc;

use super::ScopeDigest;
use super::part::IndexPart;
use crate::wal::{Log, Lsn};

/// The keys of a range of LSNs, in memory.
pub struct MemTable {
    pub from: Lsn,
    pub to: Lsn,
    /// Scope → its newest first record.
    pub keys: HashMap<ScopeDigest, Lsn>,
}

/// Everything the index knows. LSNs of kept records that neither a part nor a map covers are a *gap*.
pub struct View {
    /// By LSN; none overlaps another.
    pub parts: Vec<Arc<IndexPart>>,
    /// On its way into a part.
    pub frozen: Option<Arc<MemTable>>,
    /// What the commit thread adds to. Ends where the log ends.
    pub recent: MemTable,
    /// Whether there is no gap: only then can a miss be believed.
    pub ready: bool,
}

impl View {
    /// Everything from here on is in memory.
    pub fn memory_start(&self) -> Lsn {
        self.frozen.as_ref().map_or(self.recent.from, |frozen| frozen.from)
    }

    /// The newest record of the scope that is not in a part.
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

    /// Puts a part in its place.
    pub fn insert(&mut self, part: Arc<IndexPart>) {
        let at = self.parts.partition_point(|other| other.from() < part.from());
        self.parts.insert(at, part);
    }

    /// Takes a part out; false if it is not there any more.
    pub fn remove(&mut self, part: &Arc<IndexPart>) -> bool {
        let before = self.parts.len();
        self.parts.retain(|other| !Arc::ptr_eq(other, part));
        self.parts.len() < before
    }

    /// Forgets everything; what is committed from now on is added as before.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.frozen = None;
        self.clear_recent();
    }

    /// Leaves a gap in place of the map that the commit thread adds to.
    pub fn clear_recent(&mut self) {
        self.recent = MemTable::empty(self.recent.to);
        self.ready = false;
    }
}

impl MemTable {
    /// Nothing, from here on.
    pub fn empty(at: Lsn) -> Self {
        Self { from: at, to: at, keys: HashMap::new() }
    }
}
