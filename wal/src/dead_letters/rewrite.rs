//! Rewrites the file through bounded buffers, concurrently with readers and writers.
//!
//! Entries below the initial end are copied and flushed first, by their indexed locations. The few entries appended
//! meanwhile are copied in file order while writers wait. Readers never wait.

use std::io;

use super::super::fs;
use super::entry;
use super::entry::{EncodedEntry, EntryHeader};
use super::entry_index::RemovedEntry;
use super::file::DeadLetterFile;
use super::file_builder::FileBuilder;
use super::store::{DeadLetterStore, StoreState};
use super::types::Removal;
use crate::sync::atomic::Ordering;
use crate::units::Lsn;

impl DeadLetterStore {
    /// Rewrites the file with its current entries, encrypted if a master key is given. The file stays unchanged if a
    /// dead letter needs a key that is not given.
    pub(super) fn rewrite(&self) -> io::Result<()> {
        let _one = self.rewriting.lock();
        let (old, from) = {
            let state = self.lock_state();
            (state.file.clone(), state.end)
        };
        let temporary = fs::temporary_path(&self.path);
        let mut fresh = FileBuilder::begin(&*self.fs, &temporary, &self.keys)?;
        if !self.copy_indexed(&old, from, &mut fresh)? {
            return self.fs.remove(&temporary);
        }
        fresh.flush()?;
        let _order = self.lock_writes();
        let end = self.lock_state().end;
        copy_added(&old, from, end, &mut fresh)?;
        fresh.flush()?;
        // After an error here it is unknown which file a crash leaves, so an entry added to either could be lost.
        fs::durable_rename(&*self.fs, &temporary, &self.path).map_err(|error| self.mark_broken(error))?;
        let (letters, known, end) = fresh.finish();
        self.count.store(known.len(), Ordering::Release);
        // The saved index belonged to the old file.
        self.saved_to.store(0, Ordering::Relaxed);
        *self.lock_state() = StoreState { file: letters, index: known, end };
        Ok(())
    }

    /// Copies the entries below `end`. Returns `false` if one of them needs a key that is not given.
    fn copy_indexed(&self, old: &DeadLetterFile, end: u64, fresh: &mut FileBuilder) -> io::Result<bool> {
        for (lsn, place) in self.entries().filter(|(_, place)| place.offset < end) {
            let is_added = old.read(lsn, place)?.map_or(Ok(false), |dead| fresh.add(dead))?;
            if !is_added {
                return Ok(false);
            }
        }
        for (lsn, RemovedEntry { removal, to, .. }) in self.removed_entries() {
            fresh.add_entry(&EncodedEntry::from_removal(lsn, to, removal))?;
        }
        Ok(true)
    }
}

/// Copies the entries between two offsets, in order.
fn copy_added(old: &DeadLetterFile, from: u64, end: u64, fresh: &mut FileBuilder) -> io::Result<()> {
    let changed = || io::Error::other("the dead-letter store changed during its rewrite");
    let mut scanner = old.scanner(end);
    let mut at = from;
    while at < end {
        let found = scanner.frame_at(at)?.map_err(|_| changed())?;
        at += found.len as u64;
        let lsn = found.meta.lsn;
        let (head, body) = entry::split(found.payload).ok_or_else(changed)?;
        if let EntryHeader::Removed { requeued_as, lsn_to } = head {
            let removal = requeued_as.map_or(Removal::Dropped, |as_lsn| Removal::Requeued(Lsn(as_lsn)));
            fresh.add_entry(&EncodedEntry::from_removal(lsn, lsn_to.map_or(lsn, Lsn), removal))?;
            continue;
        }
        let dead = entry::read(lsn, head, body, old.key()).map_err(|entry::ForgedEntry| changed())?;
        let is_added = dead.map_or(Ok(false), |dead| fresh.add(dead))?;
        if !is_added {
            return Err(changed());
        }
    }
    Ok(())
}
