//! Opens the store, for writing or for reading.

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

/// The ids of the master keys of which one opens the store of the log in `dir`, if none of them is given.
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

/// What is said of a store whose head cannot be read; its letters are in this file.
fn header_error(file: &str, unreadable: &UnreadableRanges) -> String {
    let detail = unreadable.detail(RELATIVE_PATH).map(|detail| format!("; {detail}")).unwrap_or_default();
    format!("the head of dead/letters is damaged, its letters are in {file}{detail}")
}

/// What the file holds, and the end of it when its places were saved. A file that is to be written anew is read whole,
/// so that what is damaged in it stays behind.
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
    /// Opens the store of the log in `dir`, making it if missing. Says what of it could not be read.
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
        let (has_hole, mut trouble) = (loaded.has_gap, lost.or(loaded.read_error.clone()));
        let store = Self::from_loaded(fs, path, keys, loaded);
        store.saved_to.store(saved_to, Ordering::Relaxed);
        // No plaintext stays behind once encryption is on, and no key is needed any more once it is off.
        let is_due = || store.lock_state().file.is_encrypted() != keys.current().is_some();
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

    /// The same without the right to write; no store when there is none, or its head cannot be read.
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
        let trouble = loaded.read_error.clone();
        Ok((Some(Self::from_loaded(fs, path, keys, loaded)), trouble))
    }

    /// What a start took out, a copy aside: what a crash left of a write, or spoilt entries that no later one promises.
    pub fn truncation(&self) -> Option<String> {
        self.torn.map(|(from, to)| {
            format!(
                "bytes {from} to {to} of dead/letters are no entry; cut, a copy lies in {}",
                quarantine::DIR
            )
        })
    }
}
