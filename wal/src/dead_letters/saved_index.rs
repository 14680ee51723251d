//! Saves the locations of entries as the store grows, so that a start reads only later entries.
//!
//! `dead/places`, all numbers little-endian: magic `forebayp`, version (4), zero (4), salt of the file of dead letters
//! (16); the entries; the removed entries; the number of each (8, 8), the offset of the next entry (8), CRC-32 of the
//! bytes of `dead/letters` before that offset (4), CRC-32 of all bytes of this file before (4).
//!
//! An entry: first record, last record, offset, length (8 each). Since version 2, the highest bit of the length is set
//! if the records could not be read. A removed entry: first record, last record, length, the record it was requeued as
//! or 0 (8 each).
//!
//! The file only repeats what `dead/letters` contains. If it is missing, damaged, or of another `dead/letters`, all
//! entries are read instead, which takes longer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;

use super::super::byte_array::array;
use super::super::fs;
use super::super::fs::{File, Fs, OpenMode};
use super::entry_index::{EntryIndex, EntryLocation, PAGE_ENTRIES, RemovedEntry};
use super::file::DeadLetterFile;
use super::types::{DIR, Removal};
use crate::units::Lsn;

const FILE: &str = "places";
const MAGIC: [u8; 8] = *b"forebayp";
const VERSION: u32 = 2;
/// Flag in a length: the entry lists damage. No real length is near it.
const DAMAGE_FLAG: u64 = 1 << 63;
/// Length in bytes of the header, of each entry, and of the footer.
const BLOCK_LEN: usize = 32;
/// This many last bytes of `dead/letters` are compared, to detect an index of another file.
const TAIL_LEN: u64 = 4096;

/// A saved index.
pub struct SavedIndex {
    /// Index of the entries.
    pub index: EntryIndex,
    /// Offset of the next entry at that time. All bytes before it were flushed.
    pub end: u64,
}

/// Loads the saved index of `letters`; `None` if it cannot be used.
pub fn load(fs: &dyn Fs, dir: &Path, letters: &DeadLetterFile) -> Option<SavedIndex> {
    // After any error the file of dead letters is read instead.
    read(fs, dir, letters).ok().flatten()
}

/// Deletes the saved index.
pub fn remove(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    match fs.remove(&path(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(DIR).join(FILE)
}

fn read(fs: &dyn Fs, dir: &Path, letters: &DeadLetterFile) -> io::Result<Option<SavedIndex>> {
    let file = fs.open(&path(dir), OpenMode::Read)?;
    let block = BLOCK_LEN as u64;
    let Some(behind) = file.size()?.checked_sub(block) else { return Ok(None) };
    let mut last = [0; BLOCK_LEN];
    read_exact(&*file, &mut last, behind)?;
    let footer = IndexFooter::decode(&last);
    if footer.blocks().and_then(|blocks| blocks.checked_mul(block)) != Some(behind) {
        return Ok(None);
    }
    let mut known = EntryIndex::default();
    let mut hasher = Hasher::new();
    let (mut buffer, mut at) = (vec![0; PAGE_ENTRIES * BLOCK_LEN], 0);
    while at < behind {
        let piece = &mut buffer[..(PAGE_ENTRIES * BLOCK_LEN).min((behind - at) as usize)];
        read_exact(&*file, piece, at)?;
        hasher.update(piece);
        for (number, block) in (at / block..).zip(piece.as_chunks().0) {
            match number {
                0 if *block != header(letters.salt()) => return Ok(None),
                0 => {}
                _ if number <= footer.entries => known.add_saved(decode_entry(block)),
                _ => known.add_saved_removed(decode_removed(block)),
            }
        }
        at += piece.len() as u64;
    }
    hasher.update(&last[..BLOCK_LEN - 4]);
    let is_whole =
        hasher.finalize() == footer.crc && tail_checksum(&*letters.file, footer.end)? == footer.tail;
    Ok(is_whole.then_some(SavedIndex { index: known, end: footer.end }))
}

/// Checksum of the last bytes of `dead/letters` before `end`.
fn tail_checksum(letters: &dyn File, end: u64) -> io::Result<u32> {
    let len = TAIL_LEN.min(end);
    let mut bytes = vec![0; len as usize];
    read_exact(letters, &mut bytes, end - len)?;
    Ok(crc32fast::hash(&bytes))
}

fn read_exact(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if fs::read_full(file, buf, offset)? < buf.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn header(salt: &[u8; 16]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..8].copy_from_slice(&MAGIC);
    block[8..12].copy_from_slice(&VERSION.to_le_bytes());
    block[16..].copy_from_slice(salt);
    block
}

fn numbers(block: &[u8; BLOCK_LEN]) -> [u64; 4] {
    std::array::from_fn(|index| u64::from_le_bytes(array(block, index * 8)))
}

fn block(numbers: [u64; 4]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    for (bytes, number) in block.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    block
}

fn decode_entry(block: &[u8; BLOCK_LEN]) -> (Lsn, EntryLocation) {
    let [lsn, to, offset, len] = numbers(block);
    let is_damage = len & DAMAGE_FLAG != 0;
    (Lsn(lsn), EntryLocation { offset, len: (len & !DAMAGE_FLAG) as usize, to: Lsn(to), is_damage })
}

fn decode_removed(block: &[u8; BLOCK_LEN]) -> (Lsn, RemovedEntry) {
    let [lsn, to, len, requeued_as] = numbers(block);
    let removal = if requeued_as == 0 { Removal::Dropped } else { Removal::Requeued(Lsn(requeued_as)) };
    (Lsn(lsn), RemovedEntry { removal, to: Lsn(to), len: len as usize })
}

/// The block after the entries.
struct IndexFooter {
    entries: u64,
    removed: u64,
    end: u64,
    tail: u32,
    crc: u32,
}

impl IndexFooter {
    fn decode(block: &[u8; BLOCK_LEN]) -> Self {
        let [entries, removed, end, _] = numbers(block);
        let crc = |at| u32::from_le_bytes(array(block, at));
        Self { entries, removed, end, tail: crc(24), crc: crc(28) }
    }

    /// Number of blocks before the footer.
    fn blocks(&self) -> Option<u64> {
        self.entries.checked_add(self.removed)?.checked_add(1)
    }
}

/// An index file under construction.
struct IndexWriter {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    at: u64,
    hasher: Hasher,
}

impl IndexWriter {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PAGE_ENTRIES * BLOCK_LEN { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn end(mut self, footer: &IndexFooter) -> io::Result<()> {
        let numbers = block([footer.entries, footer.removed, footer.end, footer.tail.into()]);
        self.add(&numbers[..BLOCK_LEN - 4])?;
        self.write()?;
        let crc = self.hasher.clone().finalize();
        self.add(&crc.to_le_bytes())?;
        self.write()?;
        self.file.sync_all()
    }
}

/// Saves the locations of the entries below `end`, and the removed entries.
pub fn save(
    fs: &dyn Fs,
    letters_path: &Path,
    letters: &DeadLetterFile,
    end: u64,
    entries: impl Iterator<Item = (Lsn, EntryLocation)>,
    removed: impl Iterator<Item = (Lsn, RemovedEntry)>,
) -> io::Result<()> {
    let path = letters_path.with_file_name(FILE);
    let temporary = fs::temporary_path(&path);
    let file = fs.open(&temporary, OpenMode::Create)?;
    let mut out = IndexWriter { file, buffer: Vec::new(), at: 0, hasher: Hasher::new() };
    out.add(&header(letters.salt()))?;
    let mut footer =
        IndexFooter { entries: 0, removed: 0, end, tail: tail_checksum(&*letters.file, end)?, crc: 0 };
    for (lsn, place) in entries.filter(|(_, place)| place.offset < end) {
        footer.entries += 1;
        let damage = if place.is_damage { DAMAGE_FLAG } else { 0 };
        out.add(&block([lsn.0, place.to.0, place.offset, place.len as u64 | damage]))?;
    }
    for (lsn, removed) in removed {
        footer.removed += 1;
        let requeued_as = match removed.removal {
            Removal::Dropped => 0,
            Removal::Requeued(lsn) => lsn.0,
        };
        out.add(&block([lsn.0, removed.to.0, removed.len as u64, requeued_as]))?;
    }
    out.end(&footer)?;
    fs::durable_rename(fs, &temporary, &path)
}
