//! A part of the index: an immutable file with the keys of a range of LSNs.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::filter::BloomFilter;
use super::layout::{BLOCK, PartHeader, PartRange};
use super::{ScopeDigest, layout};
use crate::wal::Lsn;
use crate::wal::fs::{File, Fs, OpenMode, read_full};

/// File extension of parts.
pub const EXTENSION: &str = "part";
/// Interpolation probes before bisection takes over. Scopes are uniform, so two or three probes usually find the block.
const MAX_ESTIMATED_PROBES: u32 = 8;
/// Number of blocks that a merge reads at once.
const READ_AHEAD_BLOCKS: u64 = 16;

/// File name of the part that covers this range.
pub fn name_of(range: &PartRange) -> String {
    format!("{:020}-{:020}.{EXTENSION}", range.from.0, range.to.0)
}

/// Memory left for filters, in bytes, shared by all parts.
pub struct FilterBudget(AtomicUsize);

impl FilterBudget {
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn try_acquire(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One part. The file stays open, so a look-up opens nothing.
pub struct IndexPart {
    pub header: PartHeader,
    file: Arc<dyn File>,
    /// Set once; `None` if the part has no filter or the budget is used up.
    filter: OnceLock<Option<BloomFilter>>,
    budget: Arc<FilterBudget>,
}

impl IndexPart {
    /// A part that was just written.
    pub fn new(
        header: PartHeader,
        file: Arc<dyn File>,
        filter: Option<BloomFilter>,
        budget: Arc<FilterBudget>,
    ) -> Self {
        let part = Self { header, file, filter: OnceLock::new(), budget };
        let _ = part.filter.set(filter.filter(|filter| part.budget.try_acquire(filter.bytes())));
        part
    }

    /// Opens a part and reads only its header.
    pub fn open(fs: &dyn Fs, path: &Path, budget: &Arc<FilterBudget>) -> io::Result<Self> {
        let file = fs.open(path, OpenMode::Read)?;
        let mut block = [0; BLOCK];
        read_full(&*file, &mut block, 0)?;
        let header = PartHeader::decode(&block).ok_or_else(|| damaged("the header of the part"))?;
        if file.size()? != header.filter_at() + header.filter_bytes {
            return Err(damaged("the length of the part"));
        }
        Ok(Self { header, file, filter: OnceLock::new(), budget: Arc::clone(budget) })
    }

    /// The first LSN that the part covers.
    pub fn from(&self) -> Lsn {
        self.header.range.from
    }

    /// The LSN after the last one that the part covers.
    pub fn to(&self) -> Lsn {
        self.header.range.to
    }

    /// Returns `false` if the part does not hold the scope. Reads nothing from disk.
    pub fn may_hold(&self, scope: &ScopeDigest) -> bool {
        let filter = self.filter.get().and_then(Option::as_ref);
        self.header.entries > 0 && filter.is_none_or(|filter| filter.may_hold(scope))
    }

    /// The first record of the scope. Reads a few blocks at most.
    pub fn find(&self, scope: &ScopeDigest) -> io::Result<Option<Lsn>> {
        self.load_filter()?;
        if !self.may_hold(scope) {
            return Ok(None);
        }
        let key = leading_bytes(scope);
        let (mut low, mut high) = (0, self.header.blocks());
        let (mut low_key, mut high_key) = (0, u64::MAX);
        for probe in 0.. {
            if low >= high {
                break;
            }
            let at = match probe < MAX_ESTIMATED_PROBES {
                true => low + estimate_block(high - low, key.saturating_sub(low_key), high_key - low_key),
                false => low + (high - low) / 2,
            };
            let block = self.read(at, 1)?;
            let entries = self.header.entries_of(at);
            let scope_at = |n| layout::entry(&block, &self.header.range, n).0;
            if *scope < scope_at(0) {
                (high, high_key) = (at, leading_bytes(&scope_at(0)));
            } else if *scope > scope_at(entries - 1) {
                (low, low_key) = (at + 1, leading_bytes(&scope_at(entries - 1)));
            } else {
                return Ok(search(&block, &self.header.range, entries, scope));
            }
        }
        Ok(None)
    }

    /// Some entries in scope order, starting at this block, and the number of the next block.
    pub fn entries_from(&self, block: u64) -> io::Result<(Vec<(ScopeDigest, Lsn)>, u64)> {
        let count = (self.header.blocks() - block).min(READ_AHEAD_BLOCKS);
        let bytes = self.read(block, count)?;
        let mut entries = Vec::with_capacity(count as usize * layout::ENTRIES);
        for (number, bytes) in (block..).zip(bytes.chunks(BLOCK)) {
            let of_block = 0..self.header.entries_of(number);
            entries.extend(of_block.map(|at| layout::entry(bytes, &self.header.range, at)));
        }
        Ok((entries, block + count))
    }

    fn load_filter(&self) -> io::Result<()> {
        let bytes = self.header.filter_bytes as usize;
        if self.filter.get().is_some() || bytes == 0 || !self.budget.try_acquire(bytes) {
            return Ok(());
        }
        let read = retry_once(|| {
            let mut content = vec![0; bytes];
            read_full(&*self.file, &mut content, self.header.filter_at())?;
            let whole = crc32fast::hash(&content) == self.header.filter_crc;
            BloomFilter::decode(&content).filter(|_| whole).ok_or_else(|| damaged("the filter of the part"))
        });
        // Another thread may have set it first.
        let kept = read.map(|filter| self.filter.set(Some(filter)).is_ok());
        if !matches!(kept, Ok(true)) {
            self.budget.release(bytes);
        }
        kept.map(drop)
    }

    /// Reads blocks of entries and verifies each.
    fn read(&self, first: u64, count: u64) -> io::Result<Vec<u8>> {
        retry_once(|| {
            let mut bytes = vec![0; count as usize * BLOCK];
            read_full(&*self.file, &mut bytes, layout::offset_of(first))?;
            let whole =
                |(number, block): (u64, &[u8])| layout::is_valid_block(block, &self.header.range, number);
            if (first..).zip(bytes.chunks(BLOCK)).all(whole) { Ok(bytes) } else { Err(damaged("a block")) }
        })
    }
}

impl Drop for IndexPart {
    fn drop(&mut self) {
        if let Some(filter) = self.filter.get().and_then(Option::as_ref) {
            self.budget.release(filter.bytes());
        }
    }
}

/// A disk may succeed at the second attempt. A second failure counts as damage.
fn retry_once<T>(read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    read().or_else(|_| read())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"))
}

/// The number used to estimate the position of a scope.
fn leading_bytes(scope: &ScopeDigest) -> u64 {
    (u128::from_be_bytes(*scope) >> 64) as u64
}

/// The estimated block, of `blocks`, that holds a key at `distance` in a range of `width`.
fn estimate_block(blocks: u64, distance: u64, width: u64) -> u64 {
    let at = u128::from(blocks) * u128::from(distance) / (u128::from(width) + 1);
    (at as u64).min(blocks - 1)
}

fn search(block: &[u8], range: &PartRange, entries: usize, scope: &ScopeDigest) -> Option<Lsn> {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = (low + high) / 2;
        let (found, lsn) = layout::entry(block, range, middle);
        match found.cmp(scope) {
            std::cmp::Ordering::Equal => return Some(lsn),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}
