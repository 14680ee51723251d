//! Changes the master key: wraps the data keys again, and does not touch payloads.
//!
//! In each file, one slot is rewritten and flushed, then the other. At every moment one of them opens, with the old or
//! the new key. An interrupted change is repeated. The daemon must be stopped, and both keys must be given.

use std::io;
use std::path::{Path, PathBuf};

use super::encryption::key_slots::WrappedKeySlot;
use super::encryption::{KeyId, Keys, MasterKey, SlotError, key_slots};
use super::fs::{Fs, OpenMode};
use super::segment::SegmentLocation;
use super::segment_header::{HEADER_LEN, HeaderError, SegmentHeader};
use super::{dead_letters, quarantine, salvage};

/// How the data key of a file is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// The file is not encrypted.
    Plain,
    /// Both copies are wrapped with the current key.
    Current,
    /// At least one copy is wrapped with another key or damaged, and a given key opens the file.
    NeedsRekey,
    /// None of the given keys opens it. One of these would.
    Locked(Vec<KeyId>),
    /// The key was destroyed, because the segment is delivered and being deleted.
    Shredded,
    /// Both copies are damaged, or the header is.
    Damaged,
}

/// One file that can contain a wrapped key.
#[derive(Clone, Debug)]
pub struct RekeyItem {
    /// Path inside the log's directory.
    pub path: PathBuf,
    /// How its key is wrapped.
    pub status: KeyStatus,
}

/// Lists the files and their key status. Changes nothing, and may run next to a daemon.
pub fn plan(fs: &dyn Fs, dir: &Path, keys: &Keys) -> io::Result<Vec<RekeyItem>> {
    let mut items = Vec::new();
    for path in candidates(fs, dir)? {
        let Some(block) = first_block(fs, dir, &dir.join(&path))? else { continue };
        items.push(RekeyItem { status: key_status(&path, &block, keys), path });
    }
    Ok(items)
}

/// Wraps the key of one file with the current master key, in both copies, durably. The caller holds the log's lock.
pub fn apply(fs: &dyn Fs, dir: &Path, item: &RekeyItem, keys: &Keys) -> io::Result<()> {
    let master = keys.current().ok_or_else(|| io::Error::other("there is no master key to wrap with"))?;
    let path = dir.join(&item.path);
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let block = first_block(fs, dir, &path)?.ok_or_else(gone)?;
    let wrapped =
        key_slots::open(&block, keys).map_err(|_| io::Error::other("its key cannot be unwrapped"))?;
    let file = fs.open(&path, OpenMode::Write)?;
    for index in slots_to_write(&block, keys, master) {
        file.write_all_at(
            &key_slots::wrap(&block, master, &wrapped)?,
            key_slots::SLOT_OFFSETS[index] as u64,
        )?;
        file.sync_data()?;
    }
    match first_block(fs, dir, &path)? {
        Some(block) if key_status(&item.path, &block, keys) == KeyStatus::Current => Ok(()),
        _ => Err(io::Error::other("the written key slots read back differently")),
    }
}

/// The slots to write. A slot that does not open comes first, because until it is written the other is the only copy.
fn slots_to_write(block: &[u8], keys: &Keys, master: &MasterKey) -> Vec<usize> {
    let mut due: Vec<_> = (0..key_slots::SLOT_OFFSETS.len())
        .filter(|&index| key_slots::open_one(block, index, master).is_none())
        .collect();
    due.sort_by_key(|&index| key_slots::opens(block, index, keys));
    due
}

fn key_status(path: &Path, block: &[u8], keys: &Keys) -> KeyStatus {
    let encrypted = match is_segment(path) {
        true => SegmentHeader::decode(block).map(|header| header.encrypted),
        false => Ok(dead_letters::is_encrypted(block)),
    };
    match encrypted {
        Ok(true) => {}
        Ok(false) | Err(HeaderError::Zeros) => return KeyStatus::Plain,
        // A file in quarantine with a damaged header, whose key is unknown.
        Err(_) => return KeyStatus::Damaged,
    }
    match key_slots::open(block, keys) {
        Ok(_) => {
            let current = keys.current().map(MasterKey::id);
            let all = key_slots::slot_states(block)
                .iter()
                .all(|slot| current.map(WrappedKeySlot::WrappedBy) == Some(*slot));
            if all { KeyStatus::Current } else { KeyStatus::NeedsRekey }
        }
        Err(SlotError::MissingKey(ids)) => KeyStatus::Locked(ids),
        Err(SlotError::Shredded) => KeyStatus::Shredded,
        Err(SlotError::Damaged) => KeyStatus::Damaged,
    }
}

/// Whether the file is a segment or a copy of a segment's header. The other candidates are dead letters.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|is| is == "wal" || is == quarantine::HEADER)
}

/// Every file that may contain a wrapped key: segments, dead letters, and copies of both in quarantine.
fn candidates(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![PathBuf::from(dead_letters::RELATIVE_PATH)];
    for below in [SegmentLocation::Pending.dir(), SegmentLocation::Acked.dir(), quarantine::DIR] {
        let names = match fs.list(&dir.join(below)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            listed => listed?,
        };
        let copies = dead_letters::RELATIVE_PATH.replace('/', "-");
        let paths = names.into_iter().map(|name| Path::new(below).join(name));
        all.extend(paths.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            is_segment(path) || (below == quarantine::DIR && name.starts_with(&copies))
        }));
    }
    all.sort();
    Ok(all)
}

/// The first block of a file; `None` if the file does not exist or is shorter.
fn first_block(fs: &dyn Fs, dir: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut block = vec![0; HEADER_LEN as usize];
    let read = salvage::read_checked(fs, dir, &*file, &mut block, 0)?.len;
    Ok((read == block.len()).then_some(block))
}
