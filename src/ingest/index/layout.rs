//! On-disk format of a part. Integers are little-endian; checksums are CRC-32 as in the log.
//!
//! A part consists of a header block, blocks of entries sorted by scope, and the filter.
//!
//! | offset | size | header, 4096 bytes |
//! |---|---|---|
//! | 0 | 8 | magic `fbindex\n` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | CRC of the filter |
//! | 16 | 16 | log id |
//! | 32 | 8 | first LSN that the part covers |
//! | 40 | 8 | LSN after the last one that it covers |
//! | 48 | 8 | how many of these were retained when the part was written |
//! | 56 | 8 | entries |
//! | 64 | 8 | bytes of the filter (0: none) |
//! | 72 | 16 | keyed digest of the last record's payload (0: the record could not be read) |
//! | 88 | 4 | CRC of bytes 0–87 |
//!
//! A block of entries has 4096 bytes: 204 entries (the last block: the rest), zeros, and at offset 4092 a CRC. The CRC
//! covers the log id, both LSNs, the block's number and the block's first 4092 bytes. An entry is a scope (16 bytes)
//! and the LSN of its first record, relative to the part's first LSN (4 bytes).

use crate::wal::Lsn;

/// Keyed digest of a key or claim.
pub type ScopeDigest = [u8; 16];

/// A scope and the LSN of its first record.
pub type IndexEntry = (ScopeDigest, Lsn);

/// Bytes of the header and of every block of entries.
pub const BLOCK: usize = 4096;
/// Entries of a full block.
pub const ENTRIES: usize = (BLOCK - CRC) / ENTRY;
/// Maximum LSN span of a part: entries hold 32-bit relative LSNs.
pub const MAX_SPAN: u64 = u32::MAX as u64;

const MAGIC: [u8; 8] = *b"fbindex\n";
const FORMAT: u32 = 1;
const ENTRY: usize = 20;
const CRC: usize = 4;
const HEADER_CRC_AT: usize = 88;

/// The log and the LSNs of a part: `from` up to, but without, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRange {
    pub log_id: [u8; 16],
    pub from: Lsn,
    pub to: Lsn,
}

/// Content of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHeader {
    pub range: PartRange,
    pub kept: u64,
    pub entries: u64,
    pub filter_bytes: u64,
    pub filter_crc: u32,
    pub anchor: [u8; 16],
}

impl PartHeader {
    /// Encodes the header block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&FORMAT.to_le_bytes());
        block.extend_from_slice(&self.filter_crc.to_le_bytes());
        block.extend_from_slice(&self.range.log_id);
        let numbers = [self.range.from.0, self.range.to.0, self.kept, self.entries, self.filter_bytes];
        numbers.iter().for_each(|number| block.extend_from_slice(&number.to_le_bytes()));
        block.extend_from_slice(&self.anchor);
        block.extend_from_slice(&crc32fast::hash(&block).to_le_bytes());
        block.resize(BLOCK, 0);
        block
    }

    /// Decodes a header block; `None` if it is damaged, of another format or inconsistent.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?));
        let digest = |at: usize| block.get(at..at + 16)?.try_into().ok();
        let right = block.starts_with(&MAGIC)
            && short(8)? == FORMAT
            && short(HEADER_CRC_AT)? == crc32fast::hash(&block[..HEADER_CRC_AT]);
        let (from, to) = (number(32)?, number(40)?);
        let sensible = from < to && to - from <= MAX_SPAN;
        (right && sensible).then_some(())?;
        Some(Self {
            range: PartRange { log_id: digest(16)?, from: Lsn(from), to: Lsn(to) },
            kept: number(48)?,
            entries: number(56)?,
            filter_bytes: number(64)?,
            filter_crc: short(12)?,
            anchor: digest(72)?,
        })
    }

    /// Number of entry blocks.
    pub fn blocks(&self) -> u64 {
        self.entries.div_ceil(ENTRIES as u64)
    }

    /// Number of entries in one block.
    pub fn entries_of(&self, block: u64) -> usize {
        (self.entries - block * ENTRIES as u64).min(ENTRIES as u64) as usize
    }

    /// File offset of the filter.
    pub fn filter_at(&self) -> u64 {
        offset_of(self.blocks())
    }
}

/// File offset of a block of entries.
pub fn offset_of(block: u64) -> u64 {
    (block + 1) * BLOCK as u64
}

/// Appends an entry to the entries of a block.
pub fn put_entry(entries: &mut Vec<u8>, range: &PartRange, scope: &ScopeDigest, lsn: Lsn) {
    entries.extend_from_slice(scope);
    entries.extend_from_slice(&((lsn.0 - range.from.0) as u32).to_le_bytes());
}

/// The entry at index `at` of a block.
pub fn entry(block: &[u8], range: &PartRange, at: usize) -> (ScopeDigest, Lsn) {
    let bytes = &block[at * ENTRY..(at + 1) * ENTRY];
    let (mut scope, mut distance) = ([0; 16], [0; 4]);
    scope.copy_from_slice(&bytes[..16]);
    distance.copy_from_slice(&bytes[16..]);
    (scope, range.from.plus(u32::from_le_bytes(distance).into()))
}

/// Completes a block of entries: pads it with zeros and appends the checksum.
pub fn seal_block(block: &mut Vec<u8>, range: &PartRange, number: u64) {
    block.resize(BLOCK - CRC, 0);
    let crc = checksum(block, range, number);
    block.extend_from_slice(&crc.to_le_bytes());
}

/// Whether the checksum matches this part and block number.
pub fn is_valid_block(block: &[u8], range: &PartRange, number: u64) -> bool {
    let (content, crc) = block.split_at(BLOCK - CRC);
    crc == checksum(content, range, number).to_le_bytes()
}

fn checksum(content: &[u8], range: &PartRange, number: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&range.log_id);
    [range.from.0, range.to.0, number].iter().for_each(|n| crc.update(&n.to_le_bytes()));
    crc.update(content);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PartHeader {
        let range = PartRange { log_id: [7; 16], from: Lsn(5), to: Lsn(905) };
        PartHeader { range, kept: 900, entries: 500, filter_bytes: 640, filter_crc: 9, anchor: [3; 16] }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_passes() {
        let block = header().encode();
        assert_eq!(PartHeader::decode(&block), Some(header()));
        assert_eq!((header().blocks(), header().entries_of(0), header().entries_of(2)), (3, 204, 92));
        for bit in 0..(HEADER_CRC_AT + CRC) * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PartHeader::decode(&bad), None, "bit {bit}");
        }
        assert_eq!(PartHeader::decode(&block[..90]), None);
    }

    #[test]
    fn a_block_is_valid_only_at_its_own_position() {
        let range = header().range;
        let mut block = Vec::new();
        put_entry(&mut block, &range, &[1; 16], Lsn(17));
        seal_block(&mut block, &range, 4);
        assert_eq!((block.len(), entry(&block, &range, 0)), (BLOCK, ([1; 16], Lsn(17))));
        assert!(is_valid_block(&block, &range, 4));
        assert!(!is_valid_block(&block, &range, 5));
        assert!(!is_valid_block(&block, &PartRange { to: Lsn(906), ..range }, 4));
        block[20] ^= 1;
        assert!(!is_valid_block(&block, &range, 4));
    }
}
