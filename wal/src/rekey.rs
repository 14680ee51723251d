//! A new master key: the data keys are wrapped anew, no payload is touched.
//!
//! Of each file one slot is rewritten and flushed, then the other: at every moment one of them opens, with the old
//! key or the new one. Interrupted, it is done again. Needs the daemon stopped and both keys.

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
    /// Nothing in the file is encrypted.
    Plain,
    /// Both copies are under the current key.
    Current,
    /// At least one copy is under another key or spoilt, and the key can be had.
    NeedsRekey,
    /// None of the keys given opens it; one of these does.
    Locked(Vec<KeyId>),
    /// Its key was destroyed, because it is delivered and being given up.
    Shredded,
    /// Both copies are damaged, or the header that tells of them.
    Damaged,
}

/// One file with a place for a wrapped key.
#[derive(Clone, Debug)]
pub struct RekeyItem {
    /// Its path in the log's directory.
    pub path: PathBuf,
    /// How its key is wrapped.
    pub status: KeyStatus,
}

/// What there is to do. Changes nothing; works beside a daemon too.
pub fn plan(fs: &dyn Fs, dir: &Path, keys: &Keys) -> io::Result<Vec<RekeyItem>> {
    let mut items = Vec::new();
    for path in candidates(fs, dir)? {
        let Some(block) = first_block(fs, dir, &dir.join(&path))? else { continue };
        items.push(RekeyItem { status: key_status(&path, &block, keys), path });
    }
    Ok(items)
}

/// Wraps the key of one file with the current master key, in both copies, durably. The caller has the log's lock.
pub fn apply(fs: &dyn Fs, dir: &Path, item: &RekeyItem, keys: &Keys) -> io::Result<()> {
    let master = keys.current().ok_or_else(|| io::Error::other("there is no master key to wrap with"))?;
    let path = dir.join(&item.path);
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let block = first_block(fs, dir, &path)?.ok_or_else(gone)?;
    let wrapped = key_slots::open(&block, keys).map_err(|_| io::Error::other("its key does not open"))?;
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
        _ => Err(io::Error::other("what was written reads back otherwise")),
    }
}

/// The slots to write: one that does not open before one that does, which is all there is until then.
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
        // In quarantine, with a key nobody can tell of.
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

/// Segments and their headers; the other candidates are dead letters.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|is| is == "wal" || is == quarantine::HEADER)
}

/// Every file that may hold a wrapped key: segments, the dead letters, and what of both lies in quarantine.
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

/// The first block of a file; `None` when the file is not there or shorter.
fn first_block(fs: &dyn Fs, dir: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut block = vec![0; HEADER_LEN as usize];
    let read = salvage::read_checked(fs, dir, &*file, &mut block, 0)?.len;
    Ok((read == block.len()).then_some(block))
}
