//! Opens the store, read-write or read-only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::encryption::{KeyId, Keys};
use super::super::fs::{Fs, OpenMode};
use super::super::salvage::UnreadableRanges;
use super::super::{fs, quarantine};
use super::file::{DeadLetterFile, LoadedFile};
use super::store::DeadLetterStore;
use super::types::{DIR, FILE, RELATIVE_PATH};
use super::{file, file_header, saved_index};
use crate::sync::atomic::Ordering;

/// The ids of the master keys that can open the store of the log in `dir`, if none of them is given.
pub fn missing_keys(fs: &dyn Fs, dir: &Path, keys: &Keys) -> io::Result<Option<Vec<KeyId>>> {
    match fs.open(&dir.join(DIR).join(FILE), OpenMode::Read) {
        Ok(file) => {
            let (block, _) = file_header::read_block(fs, dir, &*file)?;
            if file_header::is_damaged(&block, keys) {
                Ok(None)
            } else {
                Ok(file_header::read(&block, keys)?.locked)
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The message for a store with a damaged header. Its dead letters are in `file`.
fn header_error(file: &str, unreadable: &UnreadableRanges) -> String {
    let detail = unreadable.detail(RELATIVE_PATH).map(|detail| format!("; {detail}")).unwrap_or_default();
    format!("the header of dead/letters is damaged, its dead letters are in {file}{detail}")
}

/// Loads the file, and the offset up to which the saved index covered it. A file that will be rewritten is read
/// completely, so that damaged entries are not copied.
fn load(fs: &dyn Fs, dir: &Path, letters: DeadLetterFile, keys: &Keys) -> io::Result<(LoadedFile, u64)> {
    let is_kept = letters.is_encrypted() == keys.current().is_some();
    if let Some(saved) = is_kept.then(|| saved_index::load(fs, dir, &letters)).flatten() {
        let saved_to = saved.end;
        let loaded = letters.clone().load_from(saved.index, saved.end)?;
        if !loaded.has_gap {
            return Ok((loaded, saved_to));
        }
    }
    Ok((letters.load_all()?, 0))
}

impl DeadLetterStore {
    /// Opens the store of the log in `dir`, or creates it. Also returns a description of what could not be read.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, keys: &Keys) -> io::Result<(Self, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let mut lost = None;
        let opened = match fs.open(&path, OpenMode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => {
                let file = opened?;
                let (block, unreadable) = file_header::read_block(&*fs, dir, &*file)?;
                if file_header::is_damaged(&block, keys) {
                    let copy = file::copy_to_quarantine(&*fs, dir, &*file, 0, "damaged")?;
                    lost = Some(header_error(&copy, &unreadable));
                    None
                } else {
                    Some((file, file_header::read(&block, keys)?))
                }
            }
        };
        let (file, head) = match opened {
            Some(opened) => opened,
            None => {
                let (block, head) = file_header::new_header(keys)?;
                fs::replace_file(&*fs, &path, &block)?;
                (fs.open(&path, OpenMode::Write)?, head)
            }
        };
        let (loaded, saved_to) = load(&*fs, dir, DeadLetterFile::new(file, head), keys)?;
        loaded.make_durable(&*fs, dir)?;
        let (has_gap, mut read_error) = (loaded.has_gap, lost.or(loaded.read_error.clone()));
        let store = Self::from_loaded(fs, path, keys, loaded);
        store.saved_to.store(saved_to, Ordering::Relaxed);
        // No plaintext remains after encryption is turned on, and no key is needed after it is turned off.
        let is_due = || store.lock_state().file.is_encrypted() != keys.current().is_some();
        if has_gap || is_due() {
            store.rewrite()?;
        }
        if is_due() {
            let detail = "some dead letters in dead/letters cannot be read: the file stays as it was, encrypted or not";
            read_error.get_or_insert_with(|| detail.to_owned());
        }
        Ok((store, read_error))
    }

    /// The same, read-only. Returns no store if the file does not exist or its header cannot be read.
    pub fn open_read_only(
        fs: Arc<dyn Fs>,
        dir: &Path,
        keys: &Keys,
    ) -> io::Result<(Option<Self>, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let file = match fs.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            opened => opened?,
        };
        let (block, unreadable) = file_header::read_block(&*fs, dir, &*file)?;
        if file_header::is_damaged(&block, keys) {
            return Ok((None, Some(header_error(RELATIVE_PATH, &unreadable))));
        }
        let loaded = DeadLetterFile::new(file, file_header::read(&block, keys)?).load_all()?;
        let read_error = loaded.read_error.clone();
        Ok((Some(Self::from_loaded(fs, path, keys, loaded)), read_error))
    }

    /// The range that a start truncated after copying it: a torn write, or damaged entries above every durable offset.
    pub fn truncation(&self) -> Option<String> {
        self.torn.map(|(from, to)| {
            format!(
                "bytes {from} to {to} of dead/letters are not a valid entry; they were cut and copied to {}",
                quarantine::DIR
            )
        })
    }
}
