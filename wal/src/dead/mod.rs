//! The dead-letter store: one append-only file of entries, durable before any position passes their records.
//!
//! `dead/letters`: a head (`head.rs`), then frames as in a segment, never encrypted as a whole. A frame's LSN is the
//! letter's; its payload is the length of a JSON head (four bytes), the head, and for a letter the record, whole. In
//! an encrypted store reason and record of a letter are sealed (`entry.rs`); its number, instants and attempts show,
//! as do damaged ranges and removals, which hold nobody's data. A removal is an entry too. When removed entries are
//! most of the file it is written anew by the housekeeping thread (`rewrite.rs`), and at a start when encryption was
//! turned on or off since it was made. In memory there are only the places of entries, which are saved as the file
//! grows (`places.rs`): a start reads what came since, an inspection and a repair read everything.
//! A start rewrites what no later entry's promise covers, and takes out what is no entry there, a copy aside.

mod entry;
mod file;
mod fresh;
mod head;
mod known;
mod places;
mod rewrite;
mod types;

#[cfg(test)]
mod concurrency_tests;
#[cfg(test)]
mod places_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;

use super::crypt::KeyId;
use super::crypt::Keys;
use super::fs;
use super::fs::Fs;
use super::fs::Mode;
use super::ledger::Ledger;
use super::quarantine;
use super::salvage::Unreadable;
use super::types::Letter;
use crate::planted::Fault;
use crate::planted::unless;
use crate::sync::Mutex;
use crate::sync::MutexGuard;
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering;
use crate::units::Lsn;

use entry::Entry;
use file::Letters;
use file::Loaded;
use fresh::Fresh;
use known::Gone;
use known::Known;
use known::Place;

pub use head::is_encrypted;
pub use places::remove as forget_places;
pub use types::Damage;
pub use types::Dead;
pub use types::Removal;
pub use types::Sealed;

/// The directory in the log's.
pub const DIR: &str = "dead";
/// The file in it.
pub const FILE: &str = "letters";
/// The file as findings name it: its path in the log's directory.
pub const NAME: &str = "dead/letters";
/// Below this a rewrite saves nothing worth the flushes.
const REWRITE_FROM: u64 = 1 << 20;
/// Places taken from memory at once.
const PAGE: usize = 1024;

/// The store. No lock is held while the disk is asked, but for the order of writers: only writers wait for it.
pub struct DeadLetters {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    keys: Keys,
    state: Mutex<State>,
    /// Entries in the store, for those that may not wait.
    count: AtomicU64,
    /// Held by a writer until its entries are flushed.
    writing: Mutex<()>,
    /// Held while the file is written anew.
    rewriting: Mutex<()>,
    /// A rewrite that failed is not tried again before the file has this many bytes.
    rewrite_from: AtomicU64,
    /// The end of the file when its places were saved last.
    saved_to: AtomicU64,
    /// A failed flush is final here too: what it left in the page cache cannot be trusted.
    broken: AtomicBool,
    /// What a start found torn.
    torn: Option<(u64, u64)>,
}

/// The file and what is known of it.
struct State {
    letters: Letters,
    known: Known,
    /// Where the next entry goes.
    end: u64,
}

/// The ids of the master keys of which one opens the store of the log in `dir`, if none of them is given.
pub fn locked(fs: &dyn Fs, dir: &Path, keys: &Keys) -> io::Result<Option<Vec<KeyId>>> {
    match fs.open(&dir.join(DIR).join(FILE), Mode::Read) {
        Ok(file) => {
            let (block, _) = head::block(fs, dir, &*file)?;
            if head::is_damaged(&block, keys) { Ok(None) } else { Ok(head::read(&block, keys)?.locked) }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is said of a store whose head cannot be read; its letters are in this file.
fn head_lost(file: &str, unreadable: &Unreadable) -> String {
    let detail = unreadable.detail(NAME).map(|detail| format!("; {detail}")).unwrap_or_default();
    format!("the head of dead/letters is damaged, its letters are in {file}{detail}")
}

/// What the file holds, and the end of it when its places were saved. A file that is to be written anew is read whole,
/// so that what is damaged in it stays behind.
fn load(fs: &dyn Fs, dir: &Path, letters: Letters, keys: &Keys) -> io::Result<(Loaded, u64)> {
    let is_kept = letters.is_encrypted() == keys.current().is_some();
    if let Some(saved) = is_kept.then(|| places::load(fs, dir, &letters)).flatten() {
        let saved_to = saved.end;
        let loaded = letters.clone().load_behind(saved)?;
        if !loaded.has_hole {
            return Ok((loaded, saved_to));
        }
    }
    Ok((letters.load()?, 0))
}

impl DeadLetters {
    /// Opens the store of the log in `dir`, making it if missing. Says what of it could not be read.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, keys: &Keys) -> io::Result<(Self, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let mut lost = None;
        let opened = match fs.open(&path, Mode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => {
                let file = opened?;
                let (block, unreadable) = head::block(&*fs, dir, &*file)?;
                if head::is_damaged(&block, keys) {
                    let copy = file::keep_aside(&*fs, dir, &*file, 0, "damaged")?;
                    lost = Some(head_lost(&copy, &unreadable));
                    None
                } else {
                    Some((file, head::read(&block, keys)?))
                }
            }
        };
        let (file, head) = match opened {
            Some(opened) => opened,
            None => {
                let (block, head) = head::make(keys)?;
                fs::replace_file(&*fs, &path, &block)?;
                (fs.open(&path, Mode::Write)?, head)
            }
        };
        let (loaded, saved_to) = load(&*fs, dir, Letters::new(file, head), keys)?;
        loaded.make_durable(&*fs, dir)?;
        let (has_hole, mut trouble) = (loaded.has_hole, lost.or(loaded.trouble.clone()));
        let store = Self::with(fs, path, keys, loaded);
        store.saved_to.store(saved_to, Ordering::Relaxed);
        // No plaintext stays behind once encryption is on, and no key is needed any more once it is off.
        let is_due = || store.lock().letters.is_encrypted() != keys.current().is_some();
        if has_hole || is_due() {
            store.rewrite()?;
        }
        if is_due() {
            let detail =
                "some letters in dead/letters cannot be read: the file stays as it was, encrypted or not";
            trouble.get_or_insert_with(|| detail.to_owned());
        }
        Ok((store, trouble))
    }

    fn with(fs: Arc<dyn Fs>, path: PathBuf, keys: &Keys, loaded: Loaded) -> Self {
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

    /// The same without the right to write; no store when there is none, or its head cannot be read.
    pub fn open_to_read(
        fs: Arc<dyn Fs>,
        dir: &Path,
        keys: &Keys,
    ) -> io::Result<(Option<Self>, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let file = match fs.open(&path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            opened => opened?,
        };
        let (block, unreadable) = head::block(&*fs, dir, &*file)?;
        if head::is_damaged(&block, keys) {
            return Ok((None, Some(head_lost(NAME, &unreadable))));
        }
        let loaded = Letters::new(file, head::read(&block, keys)?).load()?;
        let trouble = loaded.trouble.clone();
        Ok((Some(Self::with(fs, path, keys, loaded)), trouble))
    }

    /// What a start took out, a copy aside: what a crash left of a write, or spoilt entries that no later one promises.
    pub fn cut(&self) -> Option<String> {
        self.torn.map(|(from, to)| {
            format!(
                "bytes {from} to {to} of dead/letters are no entry; cut, a copy lies in {}",
                quarantine::DIR
            )
        })
    }

    /// Stores letters, durably. On an error none of them counts as stored.
    pub fn add(&self, letters: &[Letter]) -> io::Result<()> {
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
    fn append(&self, _order: &MutexGuard<'_, ()>, entries: &[Entry]) -> io::Result<()> {
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
        unless(Fault::LettersNotFlushed, || letters.file.sync_data()).map_err(|error| self.fail(error))?;
        let mut state = self.lock();
        state.end += bytes.len() as u64;
        for (entry, (offset, len)) in entries.iter().zip(places) {
            state.known.apply(entry.lsn, &entry.head, offset, len);
        }
        self.count.store(state.known.len(), Ordering::Release);
        Ok(())
    }

    /// Whether a write or flush has failed for good: nothing more can be stored in this life.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn fail(&self, error: io::Error) -> io::Error {
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
    pub(super) fn damage_to(&self, lsn: Lsn) -> Option<Lsn> {
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
    pub(super) fn last_with(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock().known.last_with(lsn)
    }

    /// The last record that any entry speaks of, whether it is here or left.
    pub(super) fn last(&self) -> Option<Lsn> {
        let known = &self.lock().known;
        let here = known.entries().map(|(_, place)| place.to);
        here.chain(known.removed().map(|(_, gone)| gone.to)).max()
    }

    /// Marks every record that is or was here as done: it is never sent, whatever the checkpoint says.
    pub(super) fn mark_in(&self, ledger: &mut Ledger) {
        let known = &self.lock().known;
        known.entries().for_each(|(from, place)| ledger.mark_all(from, place.to));
        known.removed().for_each(|(from, gone)| ledger.mark_all(from, gone.to));
    }

    /// Forgets entries that left and whose records, all below `oldest`, are no longer kept.
    pub(super) fn forget_below(&self, oldest: Lsn) {
        self.lock().known.forget_below(oldest);
    }

    /// Copies these entries into a store of their own in `quarantine/`, durably; where that takes a key that is not
    /// given, the whole file. Says what the copy is called.
    pub fn keep_aside(&self, lsns: &[Lsn]) -> io::Result<String> {
        let log = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let path = match self.excerpt(log, lsns)? {
            Some(path) => Some(path),
            None => quarantine::copy_file(&*self.fs, log, NAME)?,
        };
        Ok(path.unwrap_or_default().file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn excerpt(&self, log: &Path, lsns: &[Lsn]) -> io::Result<Option<PathBuf>> {
        let path = quarantine::free_path(&*self.fs, log, NAME)?;
        let temporary = fs::temporary(&path);
        let mut fresh = Fresh::begin(&*self.fs, &temporary, &self.keys)?;
        for &lsn in lsns {
            let is_added = self.get(lsn)?.map_or(Ok(false), |dead| fresh.add(dead))?;
            if !is_added {
                self.fs.remove(&temporary)?;
                return Ok(None);
            }
        }
        fresh.flush()?;
        fs::rename_over(&*self.fs, &temporary, &path)?;
        Ok(Some(path))
    }

    /// How many entries there are. Never waits.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there are none. Never waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the file anew if removed entries are most of it, and saves the places if it grew. For a thread that has
    /// time.
    pub fn maintain(&self) -> io::Result<()> {
        self.shrink()?;
        if self.is_broken() { Ok(()) } else { self.save_places() }
    }

    fn shrink(&self) -> io::Result<()> {
        let (end, live) = {
            let state = self.lock();
            (state.end, state.known.live_bytes())
        };
        if end <= self.rewrite_from.load(Ordering::Relaxed) || live >= end / 2 || self.is_broken() {
            return Ok(());
        }
        let rewritten = self.rewrite();
        let from = if rewritten.is_ok() { REWRITE_FROM } else { end + end / 4 };
        self.rewrite_from.store(from, Ordering::Relaxed);
        rewritten
    }

    /// Writes the store anew, without what cannot be read and without what was removed.
    pub(super) fn compact(&self) -> io::Result<()> {
        self.rewrite()
    }

    /// The entries, in their order, some at a time: nobody waits long for the lock. What is added or removed meanwhile
    /// may be among them or not.
    fn entries(&self) -> impl Iterator<Item = (Lsn, Place)> {
        self.paged(|known, from| known.entries_from(from, PAGE))
    }

    /// The same of those that left.
    fn gone(&self) -> impl Iterator<Item = (Lsn, Gone)> {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn letters(&self) -> Letters {
        self.lock().letters.clone()
    }
}
