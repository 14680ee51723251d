//! Writes a part: sorted entries go to a temporary file, which is then renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filter::BloomFilter;
use super::layout::{BLOCK, ENTRIES, PartHeader, PartRange};
use super::part::{FilterBudget, IndexPart, name_of};
use super::{ScopeDigest, layout};
use crate::wal::Lsn;
use crate::wal::fs::{File, Fs, OpenMode};

/// Bytes per write.
const BUFFER: usize = 64 << 10;
/// Parts with more keys have no filter, which would take 20 MiB in memory. Each look-up then reads a few of their
/// blocks.
const MAX_FILTERED: u64 = 16 << 20;

/// A part that is being written.
pub struct PartWriter<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    temporary: PathBuf,
    file: Arc<dyn File>,
    range: PartRange,
    /// Complete blocks that are not yet written.
    buffer: Vec<u8>,
    /// Entries of the current block.
    block: Vec<u8>,
    /// Number of completed blocks, and how many of them are written.
    sealed: u64,
    written: u64,
    entries: u64,
    filter: Option<BloomFilter>,
}

impl<'a> PartWriter<'a> {
    /// Begins a part in `dir` with at most `keys` entries.
    pub fn new(fs: &'a dyn Fs, dir: &'a Path, range: PartRange, keys: u64) -> io::Result<Self> {
        // An operator may have removed the directory while the daemon runs.
        fs.create_dir_all(dir)?;
        let temporary = dir.join(name_of(&range)).with_extension("tmp");
        let file = fs.open(&temporary, OpenMode::Create)?;
        let filter = (keys <= MAX_FILTERED).then(|| BloomFilter::for_keys(keys));
        let (buffer, block) = (Vec::with_capacity(BUFFER + BLOCK), Vec::with_capacity(BLOCK));
        Ok(Self { fs, dir, temporary, file, range, buffer, block, sealed: 0, written: 0, entries: 0, filter })
    }

    /// Appends an entry. Entries must be in scope order.
    pub fn push(&mut self, scope: &ScopeDigest, first: Lsn) -> io::Result<()> {
        layout::put_entry(&mut self.block, &self.range, scope, first);
        if let Some(filter) = &mut self.filter {
            filter.add(scope);
        }
        self.entries += 1;
        if self.entries.is_multiple_of(ENTRIES as u64) { self.seal() } else { Ok(()) }
    }

    /// Makes the part durable. `kept`: number of its LSNs that are retained now; `anchor`: digest of its last record.
    pub fn finish(
        mut self,
        kept: u64,
        anchor: [u8; 16],
        budget: &Arc<FilterBudget>,
    ) -> io::Result<IndexPart> {
        if !self.block.is_empty() {
            self.seal()?;
        }
        self.write()?;
        let filter = self.filter.as_ref().map(BloomFilter::encode).unwrap_or_default();
        let header = PartHeader {
            range: self.range,
            kept,
            entries: self.entries,
            filter_bytes: filter.len() as u64,
            filter_crc: crc32fast::hash(&filter),
            anchor,
        };
        self.file.write_all_at(&filter, header.filter_at())?;
        self.file.write_all_at(&header.encode(), 0)?;
        self.file.sync_all()?;
        self.fs.rename(&self.temporary, &self.dir.join(name_of(&self.range)))?;
        self.fs.sync_dir(self.dir)?;
        Ok(IndexPart::new(header, self.file, self.filter, Arc::clone(budget)))
    }

    fn seal(&mut self) -> io::Result<()> {
        layout::seal_block(&mut self.block, &self.range, self.sealed);
        self.sealed += 1;
        self.buffer.append(&mut self.block);
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, layout::offset_of(self.written))?;
        self.written = self.sealed;
        self.buffer.clear();
        Ok(())
    }
}
