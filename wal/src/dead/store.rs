//! The store: adds, removes and looks up entries.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::ack_tracker::AckTracker;
use super::super::encryption::Keys;
use super::super::fs::Fs;
use super::super::types::DeadLetter;
use super::entry::Entry;
use super::file::{Letters, Loaded};
use super::known::{Gone, Known, PAGE, Place};
use super::types::{Damage, Dead, Removal};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::units::Lsn;

/// Below this a rewrite saves nothing worth the flushes.
pub const REWRITE_FROM: u64 = 1 << 20;

/// The store. No lock is held while the disk is asked, but for the order of writers: only writers wait for it.
pub struct DeadLetters {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    pub(super) keys: Keys,
    state: Mutex<State>,
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
pub struct State {
    pub(super) letters: Letters,
    pub(super) known: Known,
    /// Where the next entry goes.
    pub(super) end: u64,
}

impl DeadLetters {
    /// The store with the entries of a loaded file.
    pub(super) fn with(fs: Arc<dyn Fs>, path: PathBuf, keys: &Keys, loaded: Loaded) -> Self {
        let Loaded { letters, known, end, torn, .. } = loaded;
        Self {
            fs,
            path,
            keys: keys.clone(),
            count: AtomicU64::new(known.len()),
            state: Mutex::new(State { letters, known, end }),
            writing: Mutex::default(),
            rewriting: Mutex::default(),
            rewrite_from: AtomicU64::new(REWRITE_FROM),
            saved_to: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            torn,
        }
    }

    /// Stores letters, durably. On an error none of them counts as stored.
    pub fn add(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let writing = self.order();
        let file = self.letters();
        let entries: io::Result<Vec<_>> = letters.iter().map(|letter| file.seal(letter)).collect();
        self.append(&writing, &entries?)
    }

    /// Stores a damaged range, durably.
    pub fn add_damage(&self, damage: Damage) -> io::Result<()> {
        self.append(&self.order(), &[Entry::damage(damage)])
    }

    /// Removes an entry, durably. Says whether it was there.
    pub fn remove(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        let writing = self.order();
        let Some(place) = self.lock().known.place(lsn) else { return Ok(false) };
        self.append(&writing, &[Entry::removed(lsn, place.to, removal)])?;
        Ok(true)
    }

    /// Adds entries, durably; on an error none of them counts. A shortage of room passes, and the next entries are
    /// written over what is left of these; any other failure is final.
    pub(super) fn append(&self, _order: &MutexGuard<'_, ()>, entries: &[Entry]) -> io::Result<()> {
        if self.is_broken() {
            return Err(io::Error::other("an earlier write or flush of the dead-letter store failed"));
        }
        let (letters, end) = {
            let state = self.lock();
            (state.letters.clone(), state.end)
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
            return Err(if is_room { error } else { self.fail(error) });
        }
        letters.file.sync_data().map_err(|error| self.fail(error))?;
        let mut state = self.lock();
        state.end += bytes.len() as u64;
        for (entry, (offset, len)) in entries.iter().zip(places) {
            state.known.apply(entry.lsn, &entry.head, offset, len);
        }
        self.count.store(state.known.len(), Ordering::Release);
        Ok(())
    }

    /// Whether a write or flush has failed for good: nothing more can be stored in this life.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn fail(&self, error: io::Error) -> io::Error {
        self.broken.store(true, Ordering::Release);
        error
    }

    /// One entry; `None` when it is not here.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<Dead>> {
        let (letters, place) = {
            let state = self.lock();
            (state.letters.clone(), state.known.place(lsn))
        };
        place.map_or(Ok(None), |place| letters.read(lsn, place))
    }

    /// The damaged range a record lies in, also where it is not the first of it.
    pub fn damage_over(&self, lsn: Lsn) -> io::Result<Option<Damage>> {
        let (letters, over) = {
            let state = self.lock();
            (state.letters.clone(), state.known.range_over(lsn))
        };
        match over.map(|(from, place)| letters.read(from, place)).transpose()?.flatten() {
            Some(Dead::Damage(damage)) => Ok(Some(damage)),
            _ => Ok(None),
        }
    }

    /// The last record of the damage that was listed from this record on, or around it. Damage is listed from behind
    /// the letters at its beginning.
    pub(crate) fn damage_to(&self, lsn: Lsn) -> Option<Lsn> {
        let mut at = lsn;
        loop {
            let (letters, over) = {
                let State { letters, known, .. } = &*self.lock();
                (letters.clone(), known.range_over(at).or_else(|| Some((at, known.place(at)?))))
            };
            let (from, place) = over?;
            if let Ok(Some(Dead::Damage(damage))) = letters.read(from, place) {
                return Some(Lsn(damage.lsn_to));
            }
            at = at.next();
        }
    }

    /// Whether the entry is here.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.lock().known.place(lsn).is_some()
    }

    /// How the entry left the store, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.lock().known.removal(lsn)
    }

    /// The LSNs of all entries, oldest record first.
    pub fn lsns(&self) -> Vec<Lsn> {
        self.lock().known.entries().map(|(lsn, _)| lsn).collect()
    }

    /// The LSNs of records that were here and left.
    pub fn removed(&self) -> Vec<Lsn> {
        self.lock().known.removed().map(|(lsn, _)| lsn).collect()
    }

    /// The last record of the entry that speaks of this one, whether it is here or left.
    pub(crate) fn last_with(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock().known.last_with(lsn)
    }

    /// The last record that any entry speaks of, whether it is here or left.
    pub(crate) fn last(&self) -> Option<Lsn> {
        let known = &self.lock().known;
        let here = known.entries().map(|(_, place)| place.to);
        here.chain(known.removed().map(|(_, gone)| gone.to)).max()
    }

    /// Marks every record that is or was here as done: it is never sent, whatever the checkpoint says.
    pub(crate) fn mark_in(&self, ledger: &mut AckTracker) {
        let known = &self.lock().known;
        known.entries().for_each(|(from, place)| ledger.mark_range_done(from, place.to));
        known.removed().for_each(|(from, gone)| ledger.mark_range_done(from, gone.to));
    }

    /// Forgets entries that left and whose records, all below `oldest`, are no longer kept.
    pub(crate) fn forget_below(&self, oldest: Lsn) {
        self.lock().known.forget_below(oldest);
    }

    /// How many entries there are. Never waits.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// How many records that are listed here were lost to damage.
    pub fn damaged_records(&self) -> u64 {
        self.lock().known.damaged_records()
    }

    /// The first entry about damage.
    pub fn first_damage(&self) -> Option<Lsn> {
        self.lock().known.first_damage()
    }

    /// The first and the last entry, by record.
    pub fn ends(&self) -> Option<(Lsn, Lsn)> {
        self.lock().known.ends()
    }

    /// Whether there are none. Never waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in their order, some at a time: nobody waits long for the lock. What is added or removed meanwhile
    /// may be among them or not.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Lsn, Place)> {
        self.paged(|known, from| known.entries_from(from, PAGE))
    }

    /// The same of those that left.
    pub(super) fn gone(&self) -> impl Iterator<Item = (Lsn, Gone)> {
        self.paged(|known, from| known.removed_from(from, PAGE))
    }

    fn paged<T>(&self, page: impl Fn(&Known, Lsn) -> Vec<(Lsn, T)>) -> impl Iterator<Item = (Lsn, T)> {
        let mut next = Lsn(0);
        std::iter::from_fn(move || {
            let page = page(&self.lock().known, next);
            next = page.last()?.0.next();
            Some(page)
        })
        .flatten()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn order(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    fn letters(&self) -> Letters {
        self.lock().letters.clone()
    }
}
