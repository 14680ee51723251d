//! Reads the file of the dead-letter store, and repairs it at a start.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::frame::ChecksumSeed;
use super::super::fs::{File, Fs};
use super::super::scanner::Scanner;
use super::super::types::DeadLetter;
use super::super::{frame, quarantine, salvage};
use super::entry;
use super::entry::EncodedEntry;
use super::entry_index::{EntryIndex, EntryLocation};
use super::file_header::{DataKey, FileHeader};
use super::types::{DeadEntry, FILE, RELATIVE_PATH};
use crate::units::Lsn;

/// What was read at the start is rewritten in chunks of this size.
const CHUNK: usize = 1 << 20;

/// An open file. Cheap to clone. Reads take no lock.
#[derive(Clone)]
pub struct DeadLetterFile {
    pub(super) file: Arc<dyn File>,
    pub(super) seed: ChecksumSeed,
    head: Arc<FileHeader>,
}

/// The content of a file.
pub struct LoadedFile {
    /// The file.
    pub letters: DeadLetterFile,
    /// Index of its entries.
    pub index: EntryIndex,
    /// Offset for the next entry.
    pub end: u64,
    /// Range without a valid entry, above every durable offset.
    pub torn: Option<(u64, u64)>,
    /// Whether valid entries follow that range. The file must then be rewritten, because the durable offset of the next
    /// entry would cover the range.
    pub has_gap: bool,
    /// Description of the parts that cannot be read.
    pub read_error: Option<String>,
    /// Durable offset: all bytes below it were flushed, according to the last readable entry.
    durable_end: u64,
}

impl DeadLetterFile {
    /// A file with this header.
    pub fn new(file: Arc<dyn File>, head: FileHeader) -> Self {
        Self { file, seed: ChecksumSeed::new(&head.salt), head: Arc::new(head) }
    }

    /// Whether dead letters are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.head.is_encrypted()
    }

    /// Encodes a dead letter for this file.
    pub fn seal(&self, letter: &DeadLetter) -> io::Result<EncodedEntry> {
        EncodedEntry::from_letter(letter, self.key())
    }

    /// Reads one entry.
    pub fn read(&self, lsn: Lsn, place: EntryLocation) -> io::Result<Option<DeadEntry>> {
        let EntryLocation { offset, len, .. } = place;
        let mut bytes = vec![0; len];
        salvage::read(&*self.file, &mut bytes, offset)?;
        let damaged = || io::Error::other(format!("the dead letter of record {lsn} is damaged"));
        let found = frame::decode(&bytes, &self.seed, offset, len as u64).map_err(|_| damaged())?;
        let Some((head, body)) = entry::split(found.payload) else { return Ok(None) };
        entry::read(lsn, head, body, self.key()).map_err(|entry::ForgedEntry| damaged())
    }

    /// A scanner of the entries below `limit`.
    pub fn scanner(&self, limit: u64) -> Scanner {
        Scanner::new(Arc::clone(&self.file), self.seed.clone(), limit)
    }

    /// The key that encrypts dead letters, if there is one and it is known.
    pub fn key(&self) -> Option<&DataKey> {
        self.head.key.as_ref()
    }

    /// The salt of the checksums.
    pub fn salt(&self) -> &[u8; 16] {
        &self.head.salt
    }

    /// Reads the whole file through a bounded buffer.
    pub fn load_all(self) -> io::Result<LoadedFile> {
        let begin = self.head.len;
        self.load_from(EntryIndex::default(), begin)
    }

    /// Reads what was appended after `end`. `known` indexes the entries before it.
    pub fn load_from(self, mut known: EntryIndex, mut end: u64) -> io::Result<LoadedFile> {
        let len = self.file.size()?;
        let mut scanner = self.scanner(len);
        let mut durable_end = end;
        let mut read_error = None;
        let mut gaps = Vec::new();
        while end < len {
            if let Ok(found) = scanner.frame_at(end)? {
                if let Some((head, body)) = entry::split(found.payload) {
                    let lsn = found.meta.lsn;
                    // Nothing of an altered dead letter is trusted, not even its kind.
                    match entry::read(lsn, head.clone(), body, self.key()) {
                        Ok(_) => known.apply(lsn, &head, end, found.len),
                        Err(entry::ForgedEntry) => {
                            read_error =
                                Some(format!("the dead letter of record {lsn} in dead/letters was altered"));
                        }
                    }
                }
                end += found.len as u64;
                durable_end = durable_end.max(found.meta.flushed.into());
                continue;
            }
            let behind = scanner.resync(end + frame::ALIGN as u64, 0..=u64::MAX)?;
            let Some((next, _)) = behind else { break };
            gaps.push((end, next));
            end = next;
        }
        let (mut torn, mut has_gap) = (None, false);
        // After a crash, any part of the last write may be missing, even with later parts present. Bytes below a
        // durable offset were complete once.
        if let Some((from, to)) = gaps.iter().rfind(|(from, _)| *from < durable_end) {
            read_error = Some(format!("bytes {from} to {to} of dead/letters are damaged; the rest was read"));
        } else if let Some(&(from, to)) = gaps.first() {
            (torn, has_gap) = (Some((from, to)), true);
        }
        // No durable offset covers the last entries, so unreadable bytes may have been flushed.
        if let Some(detail) = scanner.unreadable(&(0..len)).detail(RELATIVE_PATH) {
            read_error = Some(format!("some dead letters are lost, the rest was read; {detail}"));
        }
        if end < len {
            torn = Some((torn.map_or(end, |(from, _)| from), len));
        }
        Ok(LoadedFile { letters: self, index: known, end, torn, has_gap, read_error, durable_end })
    }
}

impl LoadedFile {
    /// Rewrites what was read above the durable offset: after a failed flush, the next start may read data that never
    /// reached the disk. Copies the torn range to quarantine, and truncates the file after the last entry.
    pub fn make_durable(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let file = &*self.letters.file;
        if let Some((from, _)) = self.torn {
            copy_to_quarantine(fs, dir, file, from, "torn")?;
        }
        let mut piece = vec![0; CHUNK];
        let mut at = self.durable_end.min(self.end);
        while at < self.end {
            let want = CHUNK.min((self.end - at) as usize);
            let got = salvage::read(file, &mut piece[..want], at)?.len;
            file.write_all_at(&piece[..got], at)?;
            at += want as u64;
        }
        file.set_len(self.end)?;
        file.sync_all()
    }
}

/// Copies the file from offset `from` on to quarantine, durably. Returns the path of the copy in the log's directory.
pub fn copy_to_quarantine(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    from: u64,
    why: &str,
) -> io::Result<String> {
    let name = format!("{FILE}-{from}.{why}");
    quarantine::copy(fs, dir, file, from..file.size()?, &dir.join(quarantine::DIR).join(&name))?;
    Ok(format!("{}/{name}", quarantine::DIR))
}
