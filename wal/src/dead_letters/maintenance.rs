//! Maintenance of the store: rewrites the file, saves the index, and copies entries to quarantine for an operator.

use std::io;
use std::path::{Path, PathBuf};

use super::super::{fs, quarantine};
use super::file_builder::FileBuilder;
use super::saved_index;
use super::store::{DeadLetterStore, MIN_REWRITE_BYTES};
use super::types::RELATIVE_PATH;
use crate::sync::atomic::Ordering;
use crate::units::Lsn;

/// A start reads at most this much of the file, plus one write: a few milliseconds. Smaller in tests, to cross it
/// often.
const SAVE_INTERVAL_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 8 << 20 };

impl DeadLetterStore {
    /// Rewrites the file if most of it is removed entries, and saves the index if the file grew. Call it from a
    /// background thread.
    pub fn maintain(&self) -> io::Result<()> {
        self.rewrite_if_sparse()?;
        if self.is_broken() { Ok(()) } else { self.save_index() }
    }

    fn rewrite_if_sparse(&self) -> io::Result<()> {
        let (end, live) = {
            let state = self.lock_state();
            (state.end, state.index.live_bytes())
        };
        if end <= self.rewrite_from.load(Ordering::Relaxed) || live >= end / 2 || self.is_broken() {
            return Ok(());
        }
        let rewritten = self.rewrite();
        let from = if rewritten.is_ok() { MIN_REWRITE_BYTES } else { end + end / 4 };
        self.rewrite_from.store(from, Ordering::Relaxed);
        rewritten
    }

    /// Rewrites the file without unreadable and removed entries.
    pub(crate) fn compact(&self) -> io::Result<()> {
        self.rewrite()
    }

    /// Saves the index if enough was appended since the last save. Concurrent changes may or may not be in it; a start
    /// reads them from the file again.
    pub(super) fn save_index(&self) -> io::Result<()> {
        let _one = self.rewriting.lock();
        let (letters, end) = {
            let state = self.lock_state();
            (state.file.clone(), state.end)
        };
        if end < self.saved_to.load(Ordering::Relaxed) + SAVE_INTERVAL_BYTES {
            return Ok(());
        }
        // Also if saving fails, on a full disk: the next attempt waits for as much again.
        self.saved_to.store(end, Ordering::Relaxed);
        saved_index::save(&*self.fs, &self.path, &letters, end, self.entries(), self.removed_entries())
    }

    /// Copies these entries to a file of their own in `quarantine/`, durably. Copies the whole file if an entry needs a
    /// key that is not given. Returns the name of the copy.
    pub fn copy_to_quarantine(&self, lsns: &[Lsn]) -> io::Result<String> {
        let log = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let path = match self.write_excerpt(log, lsns)? {
            Some(path) => Some(path),
            None => quarantine::copy_file(&*self.fs, log, RELATIVE_PATH)?,
        };
        Ok(path.unwrap_or_default().file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn write_excerpt(&self, log: &Path, lsns: &[Lsn]) -> io::Result<Option<PathBuf>> {
        let path = quarantine::free_path(&*self.fs, log, RELATIVE_PATH)?;
        let temporary = fs::temporary_path(&path);
        let mut fresh = FileBuilder::begin(&*self.fs, &temporary, &self.keys)?;
        for &lsn in lsns {
            let is_added = self.get(lsn)?.map_or(Ok(false), |dead| fresh.add(dead))?;
            if !is_added {
                self.fs.remove(&temporary)?;
                return Ok(None);
            }
        }
        fresh.flush()?;
        fs::durable_rename(&*self.fs, &temporary, &path)?;
        Ok(Some(path))
    }
}
