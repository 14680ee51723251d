//! Opens the store, for writing or for reading.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::encryption::{KeyId, Keys};
use super::super::fs::{Fs, OpenMode};
use super::super::salvage::UnreadableRanges;
use super::super::{fs, quarantine};
use super::file::{Letters, Loaded};
use super::store::DeadLetters;
use super::types::{DIR, FILE, NAME};
use super::{file, head, places};
use crate::sync::atomic::Ordering;

/// The ids of the master keys of which one opens the store of the log in `dir`, if none of them is given.
pub fn locked(fs: &dyn Fs, dir: &Path, keys: &Keys) -> io::Result<Option<Vec<KeyId>>> {
    match fs.open(&dir.join(DIR).join(FILE), OpenMode::Read) {
        Ok(file) => {
            let (block, _) = head::block(fs, dir, &*file)?;
            if head::is_damaged(&block, keys) { Ok(None) } else { Ok(head::read(&block, keys)?.locked) }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is said of a store whose head cannot be read; its letters are in this file.
fn head_lost(file: &str, unreadable: &UnreadableRanges) -> String {
    let detail = unreadable.detail(NAME).map(|detail| format!("; {detail}")).unwrap_or_default();
    format!("the head of dead/letters is damaged, its letters are in {file}{detail}")
}

/// What the file holds, and the end of it when its places were saved. A file that is to be written anew is read whole,
/// so that what is damaged in it stays behind.
fn load(fs: &dyn Fs, dir: &Path, letters: Letters, keys: &Keys) -> io::Result<(Loaded, u64)> {
    let is_kept = letters.is_encrypted() == keys.current().is_some();
    if let Some(saved) = is_kept.then(|| places::load(fs, dir, &letters)).flatten() {
        let saved_to = saved.end;
        let loaded = letters.clone().load_behind(saved.known, saved.end)?;
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
        let opened = match fs.open(&path, OpenMode::Write) {
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
                (fs.open(&path, OpenMode::Write)?, head)
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

    /// The same without the right to write; no store when there is none, or its head cannot be read.
    pub fn open_to_read(
        fs: Arc<dyn Fs>,
        dir: &Path,
        keys: &Keys,
    ) -> io::Result<(Option<Self>, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let file = match fs.open(&path, OpenMode::Read) {
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
}
