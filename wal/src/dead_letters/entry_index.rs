//! What is known of the store's entries: which there are, where they lie, which left. Only memory: no file is asked.

use std::collections::BTreeMap;

use super::entry::EntryHeader;
use super::types::Removal;
use crate::units::Lsn;

/// Places read from memory at once.
pub const PAGE_ENTRIES: usize = 1024;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLocation {
    /// Its frame's first byte.
    pub offset: u64,
    /// Bytes of its frame.
    pub len: usize,
    /// The last record it speaks of.
    pub to: Lsn,
    /// Whether these records could not be read.
    pub is_damage: bool,
}

/// How an entry left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedEntry {
    /// Why.
    pub removal: Removal,
    /// The last record it spoke of.
    pub to: Lsn,
    /// Bytes of the entry that says so.
    pub len: usize,
}

/// All entries of a file.
#[derive(Default)]
pub struct EntryIndex {
    /// The entries that are not removed.
    entries: BTreeMap<Lsn, EntryLocation>,
    removed: BTreeMap<Lsn, RemovedEntry>,
    /// Of the entries, those that speak of several records.
    ranges: BTreeMap<Lsn, Lsn>,
    /// Of the entries, those about damage, also of one record.
    damage: BTreeMap<Lsn, Lsn>,
    /// Bytes of both: what a file written anew would have.
    live_bytes: u64,
}

impl EntryIndex {
    /// Takes an entry into account that lies at `offset`.
    pub fn apply(&mut self, lsn: Lsn, head: &EntryHeader, offset: u64, len: usize) {
        let before = (self.entries.remove(&lsn), self.removed.remove(&lsn));
        self.ranges.remove(&lsn);
        self.damage.remove(&lsn);
        let dead = before.0.map_or(0, |place| place.len) + before.1.map_or(0, |gone| gone.len);
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

    /// Takes over an entry as it was saved.
    pub fn add_saved(&mut self, (lsn, place): (Lsn, EntryLocation)) {
        self.live_bytes += place.len as u64;
        self.insert(lsn, place);
    }

    /// Takes over what was saved of an entry that left.
    pub fn add_saved_removed(&mut self, (lsn, gone): (Lsn, RemovedEntry)) {
        self.live_bytes += gone.len as u64;
        self.removed.insert(lsn, gone);
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

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many records could not be read.
    pub fn damaged_records(&self) -> u64 {
        self.damage.iter().map(|(from, to)| (to.0 - from.0).saturating_add(1)).sum()
    }

    /// The first entry about damage.
    pub fn first_damage(&self) -> Option<Lsn> {
        self.damage.first_key_value().map(|(&lsn, _)| lsn)
    }

    /// The first and the last entry.
    pub fn first_and_last(&self) -> Option<(Lsn, Lsn)> {
        Some((*self.entries.first_key_value()?.0, *self.entries.last_key_value()?.0))
    }

    /// Where an entry lies, if it is here.
    pub fn location(&self, lsn: Lsn) -> Option<EntryLocation> {
        self.entries.get(&lsn).copied()
    }

    /// The entry of several records that speaks of this one, with its first record.
    pub fn range_covering(&self, lsn: Lsn) -> Option<(Lsn, EntryLocation)> {
        let (from, _) = self.ranges.range(..=lsn).rev().find(|(_, to)| **to >= lsn)?;
        Some((*from, self.location(*from)?))
    }

    /// The entries, oldest record first.
    pub fn entries(&self) -> impl Iterator<Item = (Lsn, EntryLocation)> {
        self.entries.iter().map(|(&lsn, &place)| (lsn, place))
    }

    /// The first of the entries from `lsn` on.
    pub fn entries_from(&self, lsn: Lsn, most: usize) -> Vec<(Lsn, EntryLocation)> {
        self.entries.range(lsn..).take(most).map(|(&lsn, &place)| (lsn, place)).collect()
    }

    /// The entries that were here and left.
    pub fn removed(&self) -> impl Iterator<Item = (Lsn, RemovedEntry)> {
        self.removed.iter().map(|(&lsn, &gone)| (lsn, gone))
    }

    /// The first of them from `lsn` on.
    pub fn removed_from(&self, lsn: Lsn, most: usize) -> Vec<(Lsn, RemovedEntry)> {
        self.removed.range(lsn..).take(most).map(|(&lsn, &gone)| (lsn, gone)).collect()
    }

    /// The last record of the entry that speaks of this one, whether it is here or left.
    pub fn last_covered(&self, lsn: Lsn) -> Option<Lsn> {
        let here = self.entries.range(..=lsn).next_back().map(|(_, place)| place.to);
        let gone = self.removed.range(..=lsn).next_back().map(|(_, gone)| gone.to);
        here.max(gone).filter(|&to| to >= lsn)
    }

    /// How the entry left, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.removed.get(&lsn).map(|gone| gone.removal)
    }

    /// Forgets entries that left and whose records, all below `oldest`, nobody can ask for any more. One that was
    /// requeued is remembered as long as what became of it: the command's id names its first record.
    pub fn drop_removed_below(&mut self, oldest: Lsn) {
        let mut kept = BTreeMap::new();
        // A requeued record has a larger number: what became of it is decided by then.
        while let Some((lsn, gone)) = self.removed.pop_last() {
            let lives_on = match gone.removal {
                Removal::Requeued(next) => {
                    next >= oldest || self.entries.contains_key(&next) || kept.contains_key(&next)
                }
                Removal::Dropped => false,
            };
            if gone.to >= oldest || lives_on {
                kept.insert(lsn, gone);
            } else {
                self.live_bytes = self.live_bytes.saturating_sub(gone.len as u64);
            }
        }
        self.removed = kept;
    }

    /// Bytes a file written anew would have, but for its head.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}
