//! The store: adds, removes and looks up entries.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::ack_tracker::AckTracker;
use super::super::encryption::Keys;
use super::super::fs::Fs;
use super::super::types::DeadLetter;
use super::entry::EncodedEntry;
use super::entry_index::{EntryIndex, EntryLocation, PAGE_ENTRIES, RemovedEntry};
use super::file::{DeadLetterFile, LoadedFile};
use super::types::{DamagedRange, DeadEntry, Removal};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::units::Lsn;

/// Below this a rewrite saves nothing worth the flushes.
pub const MIN_REWRITE_BYTES: u64 = 1 << 20;

/// The store. No lock is held while the disk is asked, but for the order of writers: only writers wait for it.
pub struct DeadLetterStore {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    pub(super) keys: Keys,
    state: Mutex<StoreState>,
    /// Entries in the store, for those that may not wait.
    pub(super) count: AtomicU64,
    /// Held by a writer until its entries are flushed.
    writing: Mutex<()>,
    /// Held while the file is written anew.
    pub(super) rewriting: Mutex<()>,
    /// A rewrite that failed is not tried again before the file has this many bytes.
    pub(super) rewrite_from: AtomicU64,
    /// The end of the file when its places were saved last.
    pub(super) saved_to: AtomicU64,
    /// A failed flush is final here too: what it left in the page cache cannot be trusted.
    broken: AtomicBool,
    /// What a start found torn.
    pub(super) torn: Option<(u64, u64)>,
}

/// The file and what is known of it.
pub struct StoreState {
    pub(super) file: DeadLetterFile,
    pub(super) index: EntryIndex,
    /// Where the next entry goes.
    pub(super) end: u64,
}

impl DeadLetterStore {
    /// The store with the entries of a loaded file.
    pub(super) fn from_loaded(fs: Arc<dyn Fs>, path: PathBuf, keys: &Keys, loaded: LoadedFile) -> Self {
        let LoadedFile { letters, index: known, end, torn, .. } = loaded;
        Self {
            fs,
            path,
            keys: keys.clone(),
            count: AtomicU64::new(known.len()),
            state: Mutex::new(StoreState { file: letters, index: known, end }),
            writing: Mutex::default(),
            rewriting: Mutex::default(),
            rewrite_from: AtomicU64::new(MIN_REWRITE_BYTES),
            saved_to: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            torn,
        }
    }

    /// Stores letters, durably. On an error none of them counts as stored.
    pub fn add(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let writing = self.lock_writes();
        let file = self.current_file();
        let entries: io::Result<Vec<_>> = letters.iter().map(|letter| file.seal(letter)).collect();
        self.append(&writing, &entries?)
    }

    /// Stores a damaged range, durably.
    pub fn add_damage(&self, damage: DamagedRange) -> io::Result<()> {
        self.append(&self.lock_writes(), &[EncodedEntry::from_damage(damage)])
    }

    /// Removes an entry, durably. Says whether it was there.
    pub fn remove(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        let writing = self.lock_writes();
        let Some(place) = self.lock_state().index.location(lsn) else { return Ok(false) };
        self.append(&writing, &[EncodedEntry::from_removal(lsn, place.to, removal)])?;
        Ok(true)
    }

    /// Adds entries, durably; on an error none of them counts. A shortage of room passes, and the next entries are
    /// written over what is left of these; any other failure is final.
    pub(super) fn append(&self, _order: &MutexGuard<'_, ()>, entries: &[EncodedEntry]) -> io::Result<()> {
        if self.is_broken() {
            return Err(io::Error::other("an earlier write or flush of the dead-letter store failed"));
        }
        let (letters, end) = {
            let state = self.lock_state();
            (state.file.clone(), state.end)
        };
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for entry in entries {
            let offset = end + bytes.len() as u64;
            places.push((offset, entry.encode(&mut bytes, &letters.seed, offset, end)?));
        }
        let written = letters.file.write_all_at(&bytes, end);
        if let Err(error) = written {
            let is_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            return Err(if is_room { error } else { self.mark_broken(error) });
        }
        letters.file.sync_data().map_err(|error| self.mark_broken(error))?;
        let mut state = self.lock_state();
        state.end += bytes.len() as u64;
        for (entry, (offset, len)) in entries.iter().zip(places) {
            state.index.apply(entry.lsn, &entry.head, offset, len);
        }
        self.count.store(state.index.len(), Ordering::Release);
        Ok(())
    }

    /// Whether a write or flush has failed for good: nothing more can be stored in this life.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn mark_broken(&self, error: io::Error) -> io::Error {
        self.broken.store(true, Ordering::Release);
        error
    }

    /// One entry; `None` when it is not here.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<DeadEntry>> {
        let (letters, place) = {
            let state = self.lock_state();
            (state.file.clone(), state.index.location(lsn))
        };
        place.map_or(Ok(None), |place| letters.read(lsn, place))
    }

    /// The damaged range a record lies in, also where it is not the first of it.
    pub fn damage_covering(&self, lsn: Lsn) -> io::Result<Option<DamagedRange>> {
        let (letters, over) = {
            let state = self.lock_state();
            (state.file.clone(), state.index.range_covering(lsn))
        };
        match over.map(|(from, place)| letters.read(from, place)).transpose()?.flatten() {
            Some(DeadEntry::Damage(damage)) => Ok(Some(damage)),
            _ => Ok(None),
        }
    }

    /// The last record of the damage that was listed from this record on, or around it. Damage is listed from behind
    /// the letters at its beginning.
    pub(crate) fn damage_end(&self, lsn: Lsn) -> Option<Lsn> {
        let mut at = lsn;
        loop {
            let (letters, over) = {
                let StoreState { file: letters, index: known, .. } = &*self.lock_state();
                (letters.clone(), known.range_covering(at).or_else(|| Some((at, known.location(at)?))))
            };
            let (from, place) = over?;
            if let Ok(Some(DeadEntry::Damage(damage))) = letters.read(from, place) {
                return Some(Lsn(damage.lsn_to));
            }
            at = at.next();
        }
    }

    /// Whether the entry is here.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.lock_state().index.location(lsn).is_some()
    }

    /// How the entry left the store, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.lock_state().index.removal(lsn)
    }

    /// The LSNs of all entries, oldest record first.
    pub fn lsns(&self) -> Vec<Lsn> {
        self.lock_state().index.entries().map(|(lsn, _)| lsn).collect()
    }

    /// The LSNs of records that were here and left.
    pub fn removed(&self) -> Vec<Lsn> {
        self.lock_state().index.removed().map(|(lsn, _)| lsn).collect()
    }

    /// The last record of the entry that speaks of this one, whether it is here or left.
    pub(crate) fn last_covered(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock_state().index.last_covered(lsn)
    }

    /// The last record that any entry speaks of, whether it is here or left.
    pub(crate) fn last(&self) -> Option<Lsn> {
        let known = &self.lock_state().index;
        let here = known.entries().map(|(_, place)| place.to);
        here.chain(known.removed().map(|(_, gone)| gone.to)).max()
    }

    /// Marks every record that is or was here as done: it is never sent, whatever the checkpoint says.
    pub(crate) fn mark_done_in(&self, ledger: &mut AckTracker) {
        let known = &self.lock_state().index;
        known.entries().for_each(|(from, place)| ledger.mark_range_done(from, place.to));
        known.removed().for_each(|(from, gone)| ledger.mark_range_done(from, gone.to));
    }

    /// Forgets entries that left and whose records, all below `oldest`, are no longer kept.
    pub(crate) fn drop_removed_below(&self, oldest: Lsn) {
        self.lock_state().index.drop_removed_below(oldest);
    }

    /// How many entries there are. Never waits.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// How many records that are listed here were lost to damage.
    pub fn damaged_records(&self) -> u64 {
        self.lock_state().index.damaged_records()
    }

    /// The first entry about damage.
    pub fn first_damage(&self) -> Option<Lsn> {
        self.lock_state().index.first_damage()
    }

    /// The first and the last entry, by record.
    pub fn first_and_last(&self) -> Option<(Lsn, Lsn)> {
        self.lock_state().index.first_and_last()
    }

    /// Whether there are none. Never waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in their order, some at a time: nobody waits long for the lock. What is added or removed meanwhile
    /// may be among them or not.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Lsn, EntryLocation)> {
        self.paged(|known, from| known.entries_from(from, PAGE_ENTRIES))
    }

    /// The same of those that left.
    pub(super) fn removed_entries(&self) -> impl Iterator<Item = (Lsn, RemovedEntry)> {
        self.paged(|known, from| known.removed_from(from, PAGE_ENTRIES))
    }

    fn paged<T>(&self, page: impl Fn(&EntryIndex, Lsn) -> Vec<(Lsn, T)>) -> impl Iterator<Item = (Lsn, T)> {
        let mut next = Lsn(0);
        std::iter::from_fn(move || {
            let page = page(&self.lock_state().index, next);
            next = page.last()?.0.next();
            Some(page)
        })
        .flatten()
    }

    pub(super) fn lock_state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock()
    }

    pub(super) fn lock_writes(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    fn current_file(&self) -> DeadLetterFile {
        self.lock_state().file.clone()
    }
}
