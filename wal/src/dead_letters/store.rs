//! The store: adds, removes and finds entries.

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

/// Smallest file that is rewritten. A rewrite of a smaller file saves less than its flushes cost.
pub const MIN_REWRITE_BYTES: u64 = 1 << 20;

/// The store. No lock is held during disk I/O, except the one that orders writers. Readers never wait for the disk.
pub struct DeadLetterStore {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    pub(super) keys: Keys,
    state: Mutex<StoreState>,
    /// Number of entries, for callers that must not wait.
    pub(super) count: AtomicU64,
    /// Held by a writer until its entries are flushed.
    writing: Mutex<()>,
    /// Held during a rewrite.
    pub(super) rewriting: Mutex<()>,
    /// After a failed rewrite, the file size in bytes at which it is tried again.
    pub(super) rewrite_from: AtomicU64,
    /// File size in bytes when the index was saved last.
    pub(super) saved_to: AtomicU64,
    /// Set by a failed flush. It is final, because the content of the page cache cannot be trusted afterwards.
    broken: AtomicBool,
    /// The torn range that the start found.
    pub(super) torn: Option<(u64, u64)>,
}

/// The file and its index.
pub struct StoreState {
    pub(super) file: DeadLetterFile,
    pub(super) index: EntryIndex,
    /// Offset of the next entry.
    pub(super) end: u64,
}

impl DeadLetterStore {
    /// The store of a loaded file.
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

    /// Stores dead letters, durably. On an error none of them counts as stored.
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

    /// Removes an entry, durably. Returns `false` if it does not exist.
    pub fn remove(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        let writing = self.lock_writes();
        let Some(place) = self.lock_state().index.location(lsn) else { return Ok(false) };
        self.append(&writing, &[EncodedEntry::from_removal(lsn, place.to, removal)])?;
        Ok(true)
    }

    /// Appends entries, durably. On an error none of them counts. A full disk is temporary: the next entries overwrite
    /// the remains of these. Any other failure is final.
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

    /// Whether a write or flush failed for good. Nothing more can be stored until a restart.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn mark_broken(&self, error: io::Error) -> io::Error {
        self.broken.store(true, Ordering::Release);
        error
    }

    /// One entry; `None` if it does not exist.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<DeadEntry>> {
        let (letters, place) = {
            let state = self.lock_state();
            (state.file.clone(), state.index.location(lsn))
        };
        place.map_or(Ok(None), |place| letters.read(lsn, place))
    }

    /// The damaged range that contains a record, in any position.
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

    /// The last record of the damaged range that begins at this record or contains it. A range is listed from behind
    /// the dead letters at its beginning, so those are skipped.
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

    /// Whether the entry exists.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.lock_state().index.location(lsn).is_some()
    }

    /// How the entry was removed, if it was.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.lock_state().index.removal(lsn)
    }

    /// The LSNs of all entries, oldest record first.
    pub fn lsns(&self) -> Vec<Lsn> {
        self.lock_state().index.entries().map(|(lsn, _)| lsn).collect()
    }

    /// The LSNs of all removed entries.
    pub fn removed(&self) -> Vec<Lsn> {
        self.lock_state().index.removed().map(|(lsn, _)| lsn).collect()
    }

    /// The last record of the entry that covers this one, whether the entry was removed or not.
    pub(crate) fn last_covered(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock_state().index.last_covered(lsn)
    }

    /// The last record covered by any entry, removed or not.
    pub(crate) fn last(&self) -> Option<Lsn> {
        let known = &self.lock_state().index;
        let here = known.entries().map(|(_, place)| place.to);
        here.chain(known.removed().map(|(_, removed)| removed.to)).max()
    }

    /// Marks all records of current and removed entries as done. They are never sent, whatever the checkpoint contains.
    pub(crate) fn mark_done_in(&self, tracker: &mut AckTracker) {
        let known = &self.lock_state().index;
        known.entries().for_each(|(from, place)| tracker.mark_range_done(from, place.to));
        known.removed().for_each(|(from, removed)| tracker.mark_range_done(from, removed.to));
    }

    /// Drops removed entries whose records, all below `oldest`, are no longer retained.
    pub(crate) fn drop_removed_below(&self, oldest: Lsn) {
        self.lock_state().index.drop_removed_below(oldest);
    }

    /// Number of entries. Never blocks.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Number of records that the store lists as damaged.
    pub fn damaged_records(&self) -> u64 {
        self.lock_state().index.damaged_records()
    }

    /// The first damage entry.
    pub fn first_damage(&self) -> Option<Lsn> {
        self.lock_state().index.first_damage()
    }

    /// The first and the last entry, by LSN.
    pub fn first_and_last(&self) -> Option<(Lsn, Lsn)> {
        self.lock_state().index.first_and_last()
    }

    /// Whether the store is empty. Never blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries in order, read page by page, so that the lock is held only briefly. Concurrent changes may or may
    /// not be included.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Lsn, EntryLocation)> {
        self.paged(|known, from| known.entries_from(from, PAGE_ENTRIES))
    }

    /// All removed entries, in the same way.
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
