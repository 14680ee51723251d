//! Index of the store's entries, in memory: which exist, their locations, and which were removed. Reads no file.

use std::collections::BTreeMap;

use super::entry::EntryHeader;
use super::types::Removal;
use crate::units::Lsn;

/// Number of locations read from the index under one lock.
pub const PAGE_ENTRIES: usize = 1024;

/// The location of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLocation {
    /// Offset of its frame.
    pub offset: u64,
    /// Length of its frame in bytes.
    pub len: usize,
    /// The last record it covers.
    pub to: Lsn,
    /// Whether it lists unreadable records.
    pub is_damage: bool,
}

/// An entry that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedEntry {
    /// How it was removed.
    pub removal: Removal,
    /// The last record it covered.
    pub to: Lsn,
    /// Length in bytes of the removal entry.
    pub len: usize,
}

/// Index of all entries of a file.
#[derive(Default)]
pub struct EntryIndex {
    /// Entries that are not removed.
    entries: BTreeMap<Lsn, EntryLocation>,
    removed: BTreeMap<Lsn, RemovedEntry>,
    /// The entries that cover several records.
    ranges: BTreeMap<Lsn, Lsn>,
    /// The damage entries, including those of one record.
    damage: BTreeMap<Lsn, Lsn>,
    /// Bytes of entries and removals: the size of a rewritten file.
    live_bytes: u64,
}

impl EntryIndex {
    /// Applies an entry at `offset`.
    pub fn apply(&mut self, lsn: Lsn, head: &EntryHeader, offset: u64, len: usize) {
        let before = (self.entries.remove(&lsn), self.removed.remove(&lsn));
        self.ranges.remove(&lsn);
        self.damage.remove(&lsn);
        let dead = before.0.map_or(0, |place| place.len) + before.1.map_or(0, |removed| removed.len);
        self.live_bytes = (self.live_bytes + len as u64).saturating_sub(dead as u64);
        let (to, is_damage) = match head {
            EntryHeader::Damage(damage) => (Lsn(damage.lsn_to), true),
            EntryHeader::Letter { .. } | EntryHeader::Sealed { .. } => (lsn, false),
            EntryHeader::Removed { requeued_as, lsn_to } => {
                let removal = requeued_as.map_or(Removal::Dropped, |as_lsn| Removal::Requeued(Lsn(as_lsn)));
                let to = lsn_to.map_or(lsn, Lsn);
                self.removed.insert(lsn, RemovedEntry { removal, to, len });
                return;
            }
        };
        self.insert(lsn, EntryLocation { offset, len, to, is_damage });
    }

    /// Adds an entry from a saved index.
    pub fn add_saved(&mut self, (lsn, place): (Lsn, EntryLocation)) {
        self.live_bytes += place.len as u64;
        self.insert(lsn, place);
    }

    /// Adds a removed entry from a saved index.
    pub fn add_saved_removed(&mut self, (lsn, removed): (Lsn, RemovedEntry)) {
        self.live_bytes += removed.len as u64;
        self.removed.insert(lsn, removed);
    }

    fn insert(&mut self, lsn: Lsn, place: EntryLocation) {
        self.entries.insert(lsn, place);
        if place.to > lsn {
            self.ranges.insert(lsn, place.to);
        }
        if place.is_damage {
            self.damage.insert(lsn, place.to);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Number of records that could not be read.
    pub fn damaged_records(&self) -> u64 {
        self.damage.iter().map(|(from, to)| (to.0 - from.0).saturating_add(1)).sum()
    }

    /// The first damage entry.
    pub fn first_damage(&self) -> Option<Lsn> {
        self.damage.first_key_value().map(|(&lsn, _)| lsn)
    }

    /// The first and the last entry.
    pub fn first_and_last(&self) -> Option<(Lsn, Lsn)> {
        Some((*self.entries.first_key_value()?.0, *self.entries.last_key_value()?.0))
    }

    /// The location of an entry, if it exists.
    pub fn location(&self, lsn: Lsn) -> Option<EntryLocation> {
        self.entries.get(&lsn).copied()
    }

    /// The entry of several records that covers this one, with its first record.
    pub fn range_covering(&self, lsn: Lsn) -> Option<(Lsn, EntryLocation)> {
        let (from, _) = self.ranges.range(..=lsn).rev().find(|(_, to)| **to >= lsn)?;
        Some((*from, self.location(*from)?))
    }

    /// All entries, oldest record first.
    pub fn entries(&self) -> impl Iterator<Item = (Lsn, EntryLocation)> {
        self.entries.iter().map(|(&lsn, &place)| (lsn, place))
    }

    /// The first `most` entries from `lsn` on.
    pub fn entries_from(&self, lsn: Lsn, most: usize) -> Vec<(Lsn, EntryLocation)> {
        self.entries.range(lsn..).take(most).map(|(&lsn, &place)| (lsn, place)).collect()
    }

    /// All removed entries.
    pub fn removed(&self) -> impl Iterator<Item = (Lsn, RemovedEntry)> {
        self.removed.iter().map(|(&lsn, &removed)| (lsn, removed))
    }

    /// The first `most` removed entries from `lsn` on.
    pub fn removed_from(&self, lsn: Lsn, most: usize) -> Vec<(Lsn, RemovedEntry)> {
        self.removed.range(lsn..).take(most).map(|(&lsn, &removed)| (lsn, removed)).collect()
    }

    /// The last record of the entry that covers this one, whether the entry was removed or not.
    pub fn last_covered(&self, lsn: Lsn) -> Option<Lsn> {
        let here = self.entries.range(..=lsn).next_back().map(|(_, place)| place.to);
        let removed = self.removed.range(..=lsn).next_back().map(|(_, removed)| removed.to);
        here.max(removed).filter(|&to| to >= lsn)
    }

    /// How the entry was removed, if it was.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.removed.get(&lsn).map(|removed| removed.removal)
    }

    /// Drops removed entries whose records are all below `oldest` and can no longer be queried. A requeued entry stays
    /// until the new record's own state can be dropped, because the command's id contains the LSN of the first record.
    pub fn drop_removed_below(&mut self, oldest: Lsn) {
        let mut kept = BTreeMap::new();
        // A requeued record has a larger number, so its state is decided before that of the first record.
        while let Some((lsn, removed)) = self.removed.pop_last() {
            let lives_on = match removed.removal {
                Removal::Requeued(next) => {
                    next >= oldest || self.entries.contains_key(&next) || kept.contains_key(&next)
                }
                Removal::Dropped => false,
            };
            if removed.to >= oldest || lives_on {
                kept.insert(lsn, removed);
            } else {
                self.live_bytes = self.live_bytes.saturating_sub(removed.len as u64);
            }
        }
        self.removed = kept;
    }

    /// Size in bytes of a rewritten file, without its header.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}
