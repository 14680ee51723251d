//! The dead-letter store: one append-only file of entries, durable before any position passes their records.
//!
//! `dead/letters`: a head (`head.rs`), then frames as in a segment, never encrypted as a whole. A frame's LSN is the
//! letter's; its payload is the length of a JSON head (four bytes), the head, and for a letter the record, whole. In
//! an encrypted store reason and record of a letter are sealed (`entry.rs`); its number, instants and attempts show,
//! as do damaged ranges and removals, which hold nobody's data. A removal is an entry too. When removed entries are
//! most of the file it is rewritten, and also when encryption was turned on or off since it was made.
//! A start rewrites what no later entry's promise covers, and takes out what is no entry there, a copy aside.

mod entry;
mod file;
mod head;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use super::crypt::KeyId;
use super::crypt::Keys;
use super::fs;
use super::fs::Fs;
use super::fs::Mode;
use super::ledger::Ledger;
use super::log::Fate;
use super::quarantine;
use super::salvage;
use super::salvage::Unreadable;
use super::types::Letter;
use crate::sync::Mutex;
use crate::sync::MutexGuard;
use crate::units::Lsn;
use crate::units::Timestamp;

use entry::Entry;
use file::Store;

pub use head::is_encrypted;

/// The directory in the log's.
pub const DIR: &str = "dead";
/// The file in it.
pub const FILE: &str = "letters";
/// The file as findings name it: its path in the log's directory.
pub const NAME: &str = "dead/letters";
/// Below this a rewrite saves nothing worth the flushes.
const REWRITE_FROM: u64 = 1 << 20;

/// A range of records that could not be read: a dead letter without its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// First record of the range.
    pub lsn_from: u64,
    /// Last record of the range.
    pub lsn_to: u64,
    /// File name of the segment.
    pub segment: String,
    /// What was found.
    pub reason: String,
    /// When.
    pub found_at: Timestamp,
}

/// What shows of a letter in an encrypted store whose key is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The record's number in the log.
    pub lsn: Lsn,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
}

impl Sealed {
    pub(super) fn fate(&self) -> Fate {
        Fate::Dead { reason: "encrypted".to_owned(), at: self.died_at }
    }
}

/// An entry of the store as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dead {
    /// A record the broker would not take.
    Letter(Letter),
    /// The same, of which no more can be seen: only to who looks without the key.
    Sealed(Sealed),
    /// Records that could not be read.
    Damage(Damage),
}

/// How a letter left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An operator gave it up.
    Dropped,
    /// It lies in the log again under this number.
    Requeued(Lsn),
}

/// The store.
pub struct DeadLetters {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    keys: Keys,
    inner: Mutex<Store>,
    /// What a start found torn.
    torn: Option<(u64, u64)>,
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
        let (inner, trouble) = Store::load(file, head)?;
        let mut trouble = lost.or(trouble);
        inner.make_durable(&*fs, dir)?;
        let torn = inner.torn();
        let store = Self { fs, path, keys: keys.clone(), inner: Mutex::new(inner), torn };
        // No plaintext stays behind once encryption is on, and no key is needed any more once it is off.
        let mut inner = store.lock();
        if inner.has_hole() || inner.is_encrypted() != keys.current().is_some() {
            store.rewrite(&mut inner)?;
        }
        if inner.is_encrypted() != keys.current().is_some() {
            let detail =
                "some letters in dead/letters cannot be read: the file stays as it was, encrypted or not";
            trouble.get_or_insert_with(|| detail.to_owned());
        }
        drop(inner);
        Ok((store, trouble))
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
        let (inner, trouble) = Store::load(file, head::read(&block, keys)?)?;
        let torn = inner.torn();
        Ok((Some(Self { fs, path, keys: keys.clone(), inner: Mutex::new(inner), torn }), trouble))
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
        let mut inner = self.lock();
        let entries: io::Result<Vec<_>> = letters.iter().map(|letter| inner.letter(letter)).collect();
        inner.append(&entries?)
    }

    /// Stores a damaged range, durably.
    pub fn add_damage(&self, damage: Damage) -> io::Result<()> {
        self.lock().append(&[Entry::damage(damage)])
    }

    /// Removes an entry, durably. Says whether it was there.
    pub fn remove(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        let mut inner = self.lock();
        let Some(to) = inner.to(lsn) else { return Ok(false) };
        inner.append(&[Entry::removed(lsn, to, removal)])?;
        if inner.end() > REWRITE_FROM && inner.live_bytes() < inner.end() / 2 {
            self.rewrite(&mut inner)?;
        }
        Ok(true)
    }

    /// One entry; `None` when it is not here.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<Dead>> {
        self.lock().read(lsn)
    }

    /// The damaged range a record lies in, also where it is not the first of it.
    pub fn damage_over(&self, lsn: Lsn) -> io::Result<Option<Damage>> {
        let inner = self.lock();
        let over = inner.ranges().find(|&(from, to)| from < to && from <= lsn && lsn <= to);
        match over.map(|(from, _)| inner.read(from)).transpose()?.flatten() {
            Some(Dead::Damage(damage)) => Ok(Some(damage)),
            _ => Ok(None),
        }
    }

    /// Whether the entry is here.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.lock().contains(lsn)
    }

    /// How the entry left the store, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.lock().removal(lsn)
    }

    /// The LSNs of all entries, oldest record first.
    pub fn lsns(&self) -> Vec<Lsn> {
        self.lock().ranges().map(|(lsn, _)| lsn).collect()
    }

    /// The LSNs of records that were here and left.
    pub fn removed(&self) -> Vec<Lsn> {
        self.lock().removed().map(|(lsn, _)| lsn).collect()
    }

    /// The last record of the entry that speaks of this one, whether it is here or left.
    pub(super) fn last_with(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock().last_with(lsn)
    }

    /// The last record that any entry speaks of, whether it is here or left.
    pub(super) fn last(&self) -> Option<Lsn> {
        let inner = self.lock();
        inner.ranges().chain(inner.removed()).map(|(_, to)| to).max()
    }

    /// Marks every record that is or was here as done: it is never sent, whatever the checkpoint says.
    pub(super) fn mark_in(&self, ledger: &mut Ledger) {
        let inner = self.lock();
        inner.ranges().for_each(|(from, to)| ledger.mark_all(from, to));
        inner.removed().for_each(|(from, to)| ledger.mark_all(from, to));
    }

    /// Forgets entries that left and whose records, all below `oldest`, are no longer kept.
    pub(super) fn forget_below(&self, oldest: Lsn) {
        self.lock().forget_below(oldest);
    }

    /// Copies these entries into a store of their own in `quarantine/`, durably; where that takes a key that is not
    /// given, the whole file. Says what the copy is called.
    pub fn keep_aside(&self, lsns: &[Lsn]) -> io::Result<String> {
        let log = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let excerpt = self.lock().excerpt(lsns, &self.keys)?;
        let bytes = match excerpt {
            Some(bytes) => Some(bytes),
            None => salvage::read_file(&*self.fs, log, &self.path, u64::MAX)?.map(|(bytes, _)| bytes),
        };
        quarantine::keep(&*self.fs, log, NAME, &bytes.unwrap_or_default())
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.lock().ranges().count() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the store anew, without what cannot be read and without what was removed.
    pub(super) fn compact(&self) -> io::Result<()> {
        self.rewrite(&mut self.lock())
    }

    /// Writes the file anew, with what is in it now, encrypted if there is a master key.
    fn rewrite(&self, inner: &mut Store) -> io::Result<()> {
        let Some(bytes) = inner.anew(&self.keys)? else { return Ok(()) };
        fs::replace_file(&*self.fs, &self.path, &bytes)?;
        let file = self.fs.open(&self.path, Mode::Write)?;
        let head = head::read(&bytes, &self.keys)?;
        let (fresh, _) = Store::load(file, head)?;
        *inner = fresh;
        Ok(())
    }
}
