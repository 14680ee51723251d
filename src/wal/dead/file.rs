//! The store's file: what lies in it where, and how it grows.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::crypt::Keys;
use super::super::frame;
use super::super::frame::Seed;
use super::super::fs;
use super::super::fs::File;
use super::super::fs::Fs;
use super::super::quarantine;
use super::super::salvage;
use super::super::scan::Scanner;
use super::super::types::Letter;
use super::Dead;
use super::FILE;
use super::NAME;
use super::Removal;
use super::entry;
use super::entry::Entry;
use super::head;
use crate::planted::Fault;
use crate::planted::planted;
use crate::planted::unless;
use crate::units::Lsn;

/// What was read at the start is rewritten in pieces of this size.
const PIECE: usize = 1 << 20;

/// Where an entry lies.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    len: usize,
    /// The last record it speaks of.
    to: Lsn,
}

/// Copies the file from `from` on into quarantine, durably, and says where.
pub fn keep_aside(fs: &dyn Fs, dir: &Path, file: &dyn File, from: u64, why: &str) -> io::Result<String> {
    let mut bytes = vec![0; file.size()?.saturating_sub(from) as usize];
    salvage::read_in(fs, dir, file, &mut bytes, from)?;
    let name = format!("{FILE}-{from}.{why}");
    fs::replace_file(fs, &dir.join(quarantine::DIR).join(&name), &bytes)?;
    Ok(format!("{}/{name}", quarantine::DIR))
}

/// How an entry left.
#[derive(Clone, Copy)]
struct Gone {
    removal: Removal,
    /// The last record it spoke of.
    to: Lsn,
    /// Bytes of the entry that says so.
    len: usize,
}

/// The file with what is known of it.
pub struct Store {
    file: Arc<dyn File>,
    head: head::Head,
    seed: Seed,
    end: u64,
    /// The entries that are not removed.
    entries: BTreeMap<Lsn, Place>,
    removed: BTreeMap<Lsn, Gone>,
    /// Bytes of both: what a file written anew would have.
    live_bytes: u64,
    /// Everything below was flushed, by the word of the last entry that could be read.
    promised: u64,
    /// Where bytes were no entry when it was opened, and no promise covers them.
    torn: Option<(u64, u64)>,
    /// Whether there are entries behind those bytes.
    has_hole: bool,
    /// A failed flush is final here too: what it left in the page cache cannot be trusted.
    broken: bool,
}

impl Store {
    /// Reads the file. Says what of it could not be read.
    pub fn load(file: Arc<dyn File>, head: head::Head) -> io::Result<(Self, Option<String>)> {
        let len = file.size()?;
        let seed = Seed::new(&head.salt);
        let mut scanner = Scanner::new(Arc::clone(&file), seed.clone(), len);
        let (end, promised) = (head.len, head.len);
        let (entries, removed) = (BTreeMap::new(), BTreeMap::new());
        let mut store = Self {
            file,
            head,
            seed,
            end,
            entries,
            removed,
            live_bytes: 0,
            promised,
            torn: None,
            has_hole: false,
            broken: false,
        };
        let mut trouble = None;
        let mut holes = Vec::new();
        while store.end < len {
            let offset = store.end;
            if let Ok(found) = scanner.at(offset)? {
                if let Some((head, body)) = entry::split(found.payload) {
                    let lsn = found.meta.lsn;
                    // Nothing of a letter that somebody changed is believed, not even that it is one.
                    match entry::read(lsn, head.clone(), body, store.head.key.as_ref()) {
                        Ok(_) => store.apply(lsn, &head, offset, found.len),
                        Err(entry::Forged) => {
                            trouble = Some(format!("the letter of record {lsn} in dead/letters was changed"));
                        }
                    }
                }
                store.end += found.len as u64;
                store.promised = store.promised.max(found.meta.flushed.into());
                continue;
            }
            let behind = scanner.resync(offset + frame::ALIGN as u64, 0..=u64::MAX)?;
            let Some((next, _)) = behind else { break };
            holes.push((offset, next));
            store.end = next;
        }
        // A crash may leave any part of the last write, also a later one without an earlier one. What an entry
        // promises was there once.
        if let Some((from, to)) = holes.iter().rfind(|(from, _)| *from < store.promised) {
            trouble = Some(format!("bytes {from} to {to} of dead/letters are damaged; the rest was read"));
        } else if let Some(&(from, to)) = holes.first() {
            (store.torn, store.has_hole) = (Some((from, to)), true);
        }
        // The last entries are promised by nothing: what cannot be read may have been flushed.
        if let Some(detail) = scanner.unreadable(&(0..len)).detail(NAME) {
            trouble = Some(format!("some letters are lost, the rest was read; {detail}"));
        }
        if store.end < len {
            store.torn = Some((store.torn.map_or(store.end, |(from, _)| from), len));
        }
        Ok((store, trouble))
    }

    /// Where bytes were no entry when it was opened, and no promise covers them.
    pub fn torn(&self) -> Option<(u64, u64)> {
        self.torn
    }

    /// Whether there are entries behind those bytes: the file wants to be written anew, because the next entry's
    /// promise will cover them.
    pub fn has_hole(&self) -> bool {
        self.has_hole
    }

    /// Rewrites what was read and never promised, because after a failed flush the next life reads what never
    /// reached the disk; keeps what a crash tore aside, and cuts off what lies behind the last entry.
    pub fn make_durable(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        if let Some((from, _)) = self.torn {
            keep_aside(fs, dir, &*self.file, from, "torn")?;
        }
        let mut at = self.promised.min(self.end);
        while at < self.end && !planted(Fault::LettersNotRewritten) {
            let want = PIECE.min((self.end - at) as usize);
            let got = salvage::read(&*self.file, &mut piece[..want], at)?.len;
            self.file.write_all_at(&piece[..got], at)?;
            at += want as u64;
        }
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }

    /// A letter as this file keeps it.
    pub fn letter(&self, letter: &Letter) -> io::Result<Entry> {
        Entry::letter(letter, self.head.key.as_ref())
    }

    /// Adds entries, durably; on an error none of them counts.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier flush of the dead-letter store failed"));
        }
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for entry in entries {
            let offset = self.end + bytes.len() as u64;
            places.push((offset, entry.encode(&mut bytes, &self.seed, offset, self.end)?));
        }
        self.file.write_all_at(&bytes, self.end)?;
        if let Err(e) = unless(Fault::LettersNotFlushed, || self.file.sync_data()) {
            self.broken = true;
            return Err(e);
        }
        self.end += bytes.len() as u64;
        for (entry, (offset, len)) in entries.iter().zip(places) {
            self.apply(entry.lsn, &entry.head, offset, len);
        }
        Ok(())
    }

    /// The bytes of a new file with what is in this one; `None` when some of it cannot be read.
    pub fn anew(&self, keys: &Keys) -> io::Result<Option<Vec<u8>>> {
        let removed = self.removed.iter().map(|(&lsn, gone)| Entry::removed(lsn, gone.to, gone.removal));
        self.with(self.entries.keys().copied(), removed, keys)
    }

    /// The bytes of a new file with these entries of this one; `None` when one of them cannot be read.
    pub fn excerpt(&self, lsns: &[Lsn], keys: &Keys) -> io::Result<Option<Vec<u8>>> {
        self.with(lsns.iter().copied(), std::iter::empty(), keys)
    }

    fn with(
        &self,
        lsns: impl Iterator<Item = Lsn>,
        removed: impl Iterator<Item = Entry>,
        keys: &Keys,
    ) -> io::Result<Option<Vec<u8>>> {
        let (mut bytes, head) = head::make(keys)?;
        let seed = Seed::new(&head.salt);
        let mut add = |entry: Entry| {
            let offset = bytes.len() as u64;
            // The file gets its name when all of it is flushed.
            entry.encode(&mut bytes, &seed, offset, offset)
        };
        for lsn in lsns {
            let entry = match self.read(lsn)? {
                Some(Dead::Letter(letter)) => Entry::letter(&letter, head.key.as_ref())?,
                Some(Dead::Damage(damage)) => Entry::damage(damage),
                // Unreadable: keep the file as it is, nothing is lost by its size.
                Some(Dead::Sealed(_)) | None => return Ok(None),
            };
            add(entry)?;
        }
        for entry in removed {
            add(entry)?;
        }
        Ok(Some(bytes))
    }

    /// One entry; `None` when it is not here.
    pub fn read(&self, lsn: Lsn) -> io::Result<Option<Dead>> {
        let Some(&Place { offset, len, .. }) = self.entries.get(&lsn) else { return Ok(None) };
        let mut bytes = vec![0; len];
        salvage::read(&*self.file, &mut bytes, offset)?;
        let damaged = || io::Error::other(format!("the dead letter of record {lsn} is damaged"));
        let found = frame::decode(&bytes, &self.seed, offset, len as u64).map_err(|_| damaged())?;
        let Some((head, body)) = entry::split(found.payload) else { return Ok(None) };
        entry::read(lsn, head, body, self.head.key.as_ref()).map_err(|entry::Forged| damaged())
    }

    /// Whether letters are sealed.
    pub fn is_encrypted(&self) -> bool {
        self.head.is_encrypted()
    }

    /// Whether the entry is here.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.entries.contains_key(&lsn)
    }

    /// First and last record of each entry, oldest first.
    pub fn ranges(&self) -> impl Iterator<Item = (Lsn, Lsn)> {
        self.entries.iter().map(|(&lsn, place)| (lsn, place.to))
    }

    /// First and last record of each entry that was here and left.
    pub fn removed(&self) -> impl Iterator<Item = (Lsn, Lsn)> {
        self.removed.iter().map(|(&lsn, gone)| (lsn, gone.to))
    }

    /// The last record of the entry that speaks of this one, whether it is here or left.
    pub fn last_with(&self, lsn: Lsn) -> Option<Lsn> {
        let here = self.entries.range(..=lsn).next_back().map(|(_, place)| place.to);
        let gone = self.removed.range(..=lsn).next_back().map(|(_, gone)| gone.to);
        here.max(gone).filter(|&to| to >= lsn)
    }

    /// Forgets entries that left and whose records, all below `oldest`, nobody can ask for any more.
    pub fn forget_below(&mut self, oldest: Lsn) {
        let mut freed = 0;
        self.removed.retain(|_, gone| {
            let keep = gone.to >= oldest;
            freed += if keep { 0 } else { gone.len as u64 };
            keep
        });
        self.live_bytes = self.live_bytes.saturating_sub(freed);
    }

    /// The last record the entry speaks of.
    pub fn to(&self, lsn: Lsn) -> Option<Lsn> {
        self.entries.get(&lsn).map(|place| place.to)
    }

    /// How the entry left, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.removed.get(&lsn).map(|gone| gone.removal)
    }

    /// Bytes of the file.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes a file written anew would have, but for its head.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    fn apply(&mut self, lsn: Lsn, head: &entry::Head, offset: u64, len: usize) {
        let before = (self.entries.remove(&lsn), self.removed.remove(&lsn));
        let dead = before.0.map_or(0, |place| place.len) + before.1.map_or(0, |gone| gone.len);
        self.live_bytes = (self.live_bytes + len as u64).saturating_sub(dead as u64);
        let to = match head {
            entry::Head::Damage(damage) => Lsn(damage.lsn_to),
            entry::Head::Letter { .. } | entry::Head::Sealed { .. } => lsn,
            entry::Head::Removed { requeued_as, lsn_to } => {
                let removal = requeued_as.map_or(Removal::Dropped, |as_lsn| Removal::Requeued(Lsn(as_lsn)));
                let to = lsn_to.map_or(lsn, Lsn);
                self.removed.insert(lsn, Gone { removal, to, len });
                return;
            }
        };
        self.entries.insert(lsn, Place { offset, len, to });
    }
}
