//! Builds a new file, entry by entry, through a bounded buffer.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::encryption::Keys;
use super::super::fs::{Fs, OpenMode};
use super::entry::EncodedEntry;
use super::entry_index::EntryIndex;
use super::file::DeadLetterFile;
use super::file_header;
use super::types::DeadEntry;

/// Size of a write.
const CHUNK: usize = 1 << 20;

/// A file under construction. It has a temporary name until it is renamed.
pub struct FileBuilder {
    letters: DeadLetterFile,
    known: EntryIndex,
    buffer: Vec<u8>,
    /// File offset of the buffer.
    at: u64,
}

impl FileBuilder {
    /// Begins a file, encrypted if a master key is given.
    pub fn begin(fs: &dyn Fs, path: &Path, keys: &Keys) -> io::Result<Self> {
        let (buffer, head) = file_header::new_header(keys)?;
        let file = fs.open(path, OpenMode::Create)?;
        Ok(Self { letters: DeadLetterFile::new(file, head), known: EntryIndex::default(), buffer, at: 0 })
    }

    /// Adds an entry of another file. Returns `false` if it cannot be decrypted, because its key is not given.
    pub fn add(&mut self, dead: DeadEntry) -> io::Result<bool> {
        let entry = match dead {
            DeadEntry::Letter(letter) => self.letters.seal(&letter)?,
            DeadEntry::Damage(damage) => EncodedEntry::from_damage(damage),
            DeadEntry::Sealed(_) => return Ok(false),
        };
        self.add_entry(&entry).map(|()| true)
    }

    /// Adds an entry.
    pub fn add_entry(&mut self, entry: &EncodedEntry) -> io::Result<()> {
        let offset = self.end();
        // The file gets its final name only after all of it was flushed.
        let len = entry.encode(&mut self.buffer, &self.letters.seed, offset, offset)?;
        self.known.apply(entry.lsn, &entry.head, offset, len);
        if self.buffer.len() >= CHUNK { self.write() } else { Ok(()) }
    }

    /// Writes and flushes everything added so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.letters.file.sync_all()
    }

    /// The file, its index, and the offset for the next entry.
    pub fn finish(self) -> (DeadLetterFile, EntryIndex, u64) {
        let end = self.end();
        (self.letters, self.known, end)
    }

    fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    fn write(&mut self) -> io::Result<()> {
        Arc::clone(&self.letters.file).write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
