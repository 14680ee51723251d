//! Segment headers, and the names of segment files: built and parsed here and nowhere else.

use std::fmt;

use super::byte_array::array;
use super::encryption::key_slots;
use super::frame::FRAME_HEADER;
use super::types::Identity;
use crate::units::{Lsn, Timestamp};

/// The newest format this code knows.
pub const FORMAT: u16 = 2;
/// What it writes where payloads are not encrypted, for readers of format 1 too.
const FORMAT_PLAIN: u16 = 1;
/// What it writes where they are: a reader of format 1 must refuse it, and not take ciphertext for records.
const FORMAT_ENCRYPTED: u16 = 2;
/// The cipher of encrypted payloads: AES-256-GCM-SIV.
const CIPHER: u32 = 1;
/// Size of a header: one block, so that it is never torn together with a record.
pub const HEADER_LEN: u64 = 4096;

const MAGIC: [u8; 8] = *b"forebay\n";
const CRC_AT: usize = HEADER_LEN as usize - 4;

/// How a segment ended, as its footer says and the next header repeats. A log cut exactly between two records
/// is noticed by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSeal {
    /// First LSN of the segment; 0 when there is no predecessor.
    pub first: Lsn,
    /// The LSN after its last record.
    pub next: Lsn,
    /// Bytes of header and records; the footer follows there.
    pub length: u64,
    /// CRC over the CRCs of all its frames, in order.
    pub chain: u32,
}

impl SegmentSeal {
    /// Whether there can be such a segment: its records take at least their frames' headers, and their offsets have
    /// four bytes. A checksum says that it was written; loops and sums over records must not depend on that.
    fn is_sound(&self) -> bool {
        let records = self.next.0.checked_sub(self.first.0);
        let bytes = records.and_then(|records| records.checked_mul(FRAME_HEADER as u64));
        let fits = self.length <= u32::MAX.into() && bytes.is_some_and(|bytes| bytes <= self.length);
        self.first == Lsn(0) || fits
    }
}

/// What the first block of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which log, under which start.
    pub identity: Identity,
    /// LSN of the first record.
    pub first: Lsn,
    /// Random, part of every frame's checksum: bytes of another file or life never pass.
    pub salt: [u8; 16],
    /// When the segment began.
    pub created: Timestamp,
    /// How the predecessor was sealed.
    pub predecessor: SegmentSeal,
    /// Bytes the file was filled with before it was used: a shorter one that is not sealed was cut.
    pub capacity: u64,
    /// Whether payloads are encrypted. Then the log's secret lies in the key slots, and not in the header.
    pub encrypted: bool,
}

/// Why a block is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Only zeros: the segment was never begun.
    Zeros,
    /// Shorter than a header, a wrong magic or a wrong checksum.
    Damaged,
    /// A format this version cannot read; `.0` wrote it, `.1` is the oldest version that reads it.
    Version(u16, u16),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("the segment's header is blank"),
            Self::Damaged => f.write_str("the segment's header is damaged"),
            Self::Version(wrote, needs) => write!(
                f,
                "the segment has format {wrote}, to be read by versions that know format {needs}; this one knows \
                 {FORMAT}. Use the version of forebay that wrote it, or a newer one"
            ),
        }
    }
}

impl SegmentHeader {
    /// The block. Of an encrypted segment its key slots are left free.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_LEN as usize);
        block.extend_from_slice(&MAGIC);
        let (format, cipher) = if self.encrypted { (FORMAT_ENCRYPTED, CIPHER) } else { (FORMAT_PLAIN, 0) };
        block.extend_from_slice(&format.to_le_bytes());
        block.extend_from_slice(&format.to_le_bytes());
        block.extend_from_slice(&cipher.to_le_bytes());
        block.extend_from_slice(&self.identity.log_id);
        block.extend_from_slice(&self.identity.incarnation);
        block.extend_from_slice(if self.encrypted { &[0; 32] } else { &self.identity.secret });
        block.extend_from_slice(&self.salt);
        for number in [
            self.first.0,
            self.created.0,
            self.predecessor.first.0,
            self.predecessor.next.0,
            self.predecessor.length,
            u64::from(self.predecessor.chain),
            self.capacity,
        ] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&block);
        block.extend_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the first block of a segment.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        if block.iter().all(|&byte| byte == 0) {
            return Err(HeaderError::Zeros);
        }
        if block.len() < HEADER_LEN as usize || block[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let cipher = u32::from_le_bytes(array(block, 12));
        let stored = u32::from_le_bytes(array(block, CRC_AT));
        if checksum(block, cipher != 0) != stored {
            return Err(HeaderError::Damaged);
        }
        let wrote = u16::from_le_bytes(array(block, 8));
        let needs = u16::from_le_bytes(array(block, 10));
        if needs > FORMAT {
            return Err(HeaderError::Version(wrote, needs));
        }
        if cipher > CIPHER {
            return Err(HeaderError::Damaged);
        }
        let number = |index: usize| u64::from_le_bytes(array(block, 96 + 8 * index));
        let header = Self {
            encrypted: cipher == CIPHER,
            identity: Identity {
                log_id: array(block, 16),
                incarnation: array(block, 32),
                secret: array(block, 48),
            },
            salt: array(block, 80),
            first: Lsn(number(0)),
            created: Timestamp(number(1)),
            predecessor: SegmentSeal {
                first: Lsn(number(2)),
                next: Lsn(number(3)),
                length: number(4),
                chain: number(5) as u32,
            },
            capacity: number(6),
        };
        if header.predecessor.is_sound() { Ok(header) } else { Err(HeaderError::Damaged) }
    }
}

/// The slots have checks of their own: they change when the master key does.
pub(super) fn checksum(block: &[u8], encrypted: bool) -> u32 {
    if !encrypted {
        return crc32fast::hash(&block[..CRC_AT]);
    }
    let mut bare = block[..CRC_AT].to_vec();
    key_slots::blank_slots(&mut bare);
    crc32fast::hash(&bare)
}

/// The name of the segment whose first record is `first`: 20 digits, so that names sort as numbers do.
pub fn segment_name(first: Lsn) -> String {
    format!("{:020}.wal", first.0)
}

/// The first LSN in a segment's name; `None` for every other name.
pub fn parse_segment_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    // Half of all numbers will never be reached, and with them out of the way no sum of two overflows.
    let lsn = plain.then(|| digits.parse().ok()).flatten()?;
    (lsn <= u64::MAX / 2).then_some(Lsn(lsn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            identity: Identity { log_id: [1; 16], secret: [2; 32], incarnation: [3; 16] },
            first: Lsn(1001),
            salt: [4; 16],
            created: Timestamp(5),
            predecessor: SegmentSeal { first: Lsn(1), next: Lsn(1001), length: 64 << 20, chain: 0xdead_beef },
            capacity: 64 << 20,
            encrypted: false,
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok(header()));
        assert_eq!(header().encode().len() as u64, HEADER_LEN);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn an_encrypted_header_shows_no_secret_and_notices_every_flipped_bit_outside_its_slots() {
        let header = SegmentHeader { encrypted: true, ..header() };
        let good = header.encode();
        assert!(!good.windows(32).any(|window| window == header.identity.secret));
        let found = SegmentHeader::decode(&good).unwrap();
        assert!(found.encrypted && found.identity.secret == [0; 32]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let slot =
                key_slots::SLOT_OFFSETS.iter().any(|&at| (at..at + key_slots::SLOT_LEN).contains(&(bit / 8)));
            assert_eq!(SegmentHeader::decode(&bad).is_ok(), slot, "bit {bit}");
        }
        assert_eq!(good[8..12], [2, 0, 2, 0], "a reader of format 1 refuses it");
    }

    /// Found by fuzzing: a start looped over the records of a predecessor that cannot have been.
    #[test]
    fn a_header_whose_predecessor_cannot_have_been_is_damaged() {
        for (next, length) in [(0, 4096), (1 << 40, 64 << 20)] {
            let predecessor = SegmentSeal { first: Lsn(1), next: Lsn(next), length, chain: 0 };
            let bad = SegmentHeader { predecessor, ..header() }.encode();
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderError::Damaged), "{next}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut block = header().encode();
        block[8..12].copy_from_slice(&[9, 0, 8, 0]);
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderError::Version(9, 8)));
    }

    #[test]
    fn only_names_of_our_own_are_taken_for_segments() {
        assert_eq!(parse_segment_name(&segment_name(Lsn(42))), Some(Lsn(42)));
        for name in ["42.wal", "00000000000000000042.wal.tmp", "+0000000000000000042.wal", "spare"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_segment_name(&segment_name(Lsn(u64::MAX))), None);
    }
}
