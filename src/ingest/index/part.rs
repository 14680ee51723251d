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

/// What a part's file is named.
pub const EXTENSION: &str = "part";
/// Probes by estimate before the rest is halved. Scopes are uniform: two or three find the block.
const MAX_ESTIMATED_PROBES: u32 = 8;
/// Blocks that a merge reads at once.
const READ_AHEAD_BLOCKS: u64 = 16;

/// The name of the part that covers this range.
pub fn name_of(range: &PartRange) -> String {
    format!("{:020}-{:020}.{EXTENSION}", range.from.0, range.to.0)
}

/// What filters may take in memory together.
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

/// One part. The file stays open: a look-up opens nothing.
pub struct IndexPart {
    pub header: PartHeader,
    file: Arc<dyn File>,
    /// Set once; none where there is no room for it, or no filter.
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

    /// Opens a part by its header alone.
    pub fn open(fs: &dyn Fs, path: &Path, budget: &Arc<FilterBudget>) -> io::Result<Self> {
        let file = fs.open(path, OpenMode::Read)?;
        let mut block = [0; BLOCK];
        read_full(&*file, &mut block, 0)?;
        let header = PartHeader::decode(&block).ok_or_else(|| damaged("the header"))?;
        if file.size()? != header.filter_at() + header.filter_bytes {
            return Err(damaged("the length"));
        }
        Ok(Self { header, file, filter: OnceLock::new(), budget: Arc::clone(budget) })
    }

    /// The first LSN it covers.
    pub fn from(&self) -> Lsn {
        self.header.range.from
    }

    /// The LSN after the last one it covers.
    pub fn to(&self) -> Lsn {
        self.header.range.to
    }

    /// False: it does not hold the scope. Reads nothing.
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

    /// Some of its entries in the order of their scopes, from this block on, and the block behind them.
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
            BloomFilter::decode(&content).filter(|_| whole).ok_or_else(|| damaged("the filter"))
        });
        // Another thread may have been faster.
        let kept = read.map(|filter| self.filter.set(Some(filter)).is_ok());
        if !matches!(kept, Ok(true)) {
            self.budget.release(bytes);
        }
        kept.map(drop)
    }

    /// Reads blocks of entries, and checks each.
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

/// A disk may answer the second time. What it does not is damage.
fn retry_once<T>(read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    read().or_else(|_| read())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"))
}

/// What a scope is estimated by.
fn leading_bytes(scope: &ScopeDigest) -> u64 {
    (u128::from_be_bytes(*scope) >> 64) as u64
}

/// Which of `blocks` blocks holds a key this far into `width`.
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
