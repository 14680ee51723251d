//! Segment headers and the names of segment files. They are encoded and parsed only here.

use std::fmt;

use super::byte_array::array;
use super::encryption::key_slots;
use super::frame::FRAME_HEADER;
use super::types::Identity;
use crate::units::{Lsn, Timestamp};

/// The newest format that this code knows.
pub const FORMAT: u16 = 2;
/// Format of unencrypted segments, which readers of format 1 can read.
const FORMAT_PLAIN: u16 = 1;
/// Format of encrypted segments. A reader of format 1 must refuse it, because it would take ciphertext for records.
const FORMAT_ENCRYPTED: u16 = 2;
/// The cipher of encrypted payloads: AES-256-GCM-SIV.
const CIPHER: u32 = 1;
/// Size of a header in bytes: one block, so that it is never torn together with a record.
pub const HEADER_LEN: u64 = 4096;

const MAGIC: [u8; 8] = *b"forebay\n";
const CRC_AT: usize = HEADER_LEN as usize - 4;

/// The end of a segment, as recorded in its footer and repeated in the next header. It reveals a log that was cut
/// exactly between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSeal {
    /// First LSN of the segment; 0 if there is no predecessor.
    pub first: Lsn,
    /// The LSN after the last record.
    pub next: Lsn,
    /// Bytes of header and records, which is the offset of the footer.
    pub length: u64,
    /// CRC over the CRCs of all its frames, in order.
    pub chain: u32,
}

impl SegmentSeal {
    /// Whether such a segment is possible: its records take at least the size of their frame headers, and offsets have
    /// four bytes. A correct checksum implies it, but loops and sums over records must not depend on that.
    fn is_sound(&self) -> bool {
        let records = self.next.0.checked_sub(self.first.0);
        let bytes = records.and_then(|records| records.checked_mul(FRAME_HEADER as u64));
        let fits = self.length <= u32::MAX.into() && bytes.is_some_and(|bytes| bytes <= self.length);
        self.first == Lsn(0) || fits
    }
}

/// The content of a segment's first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Identity of the log and of the start.
    pub identity: Identity,
    /// LSN of the first record.
    pub first: Lsn,
    /// Random salt, part of every frame's checksum. Bytes of another file or an earlier use therefore never pass.
    pub salt: [u8; 16],
    /// Creation time of the segment.
    pub created: Timestamp,
    /// Seal of the predecessor.
    pub predecessor: SegmentSeal,
    /// Preallocated size in bytes. An unsealed file that is shorter was truncated.
    pub capacity: u64,
    /// Whether payloads are encrypted. The log's secret is then in the key slots and not in the header.
    pub encrypted: bool,
}

/// Why a block is not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The block is all zeros: the segment was never begun.
    Zeros,
    /// The block is too short, or has a wrong magic or checksum.
    Damaged,
    /// A format that this version cannot read. `.0` wrote it, `.1` is the oldest format that can read it.
    Version(u16, u16),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("the segment's header is all zeros"),
            Self::Damaged => f.write_str("the segment's header is damaged"),
            Self::Version(wrote, needs) => write!(
                f,
                "the segment has format {wrote}, which needs a version that knows format {needs}; this one knows \
                 {FORMAT}. Use the version of forebay that wrote it, or a newer one"
            ),
        }
    }
}

impl SegmentHeader {
    /// Encodes the block. The key slots of an encrypted segment are left empty.
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

    /// Decodes the first block of a segment.
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

/// Checksum of a block. The key slots have their own checksums, because they change with the master key.
pub(super) fn checksum(block: &[u8], encrypted: bool) -> u32 {
    if !encrypted {
        return crc32fast::hash(&block[..CRC_AT]);
    }
    let mut bare = block[..CRC_AT].to_vec();
    key_slots::blank_slots(&mut bare);
    crc32fast::hash(&bare)
}

/// File name of the segment whose first record is `first`. It has 20 digits, so that names sort like numbers.
pub fn segment_name(first: Lsn) -> String {
    format!("{:020}.wal", first.0)
}

/// The first LSN in a segment's name; `None` for any other name.
pub fn parse_segment_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    // The upper half of all numbers is never reached. Without it, no sum of two numbers overflows.
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
    fn an_encrypted_header_hides_the_secret_and_detects_changes() {
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
        assert_eq!(good[8..12], [2, 0, 2, 0], "a reader of format 1 must refuse it");
    }

    /// Found by fuzzing: a start looped over the records of an impossible predecessor.
    #[test]
    fn a_header_with_impossible_predecessor_is_damaged() {
        for (next, length) in [(0, 4096), (1 << 40, 64 << 20)] {
            let predecessor = SegmentSeal { first: Lsn(1), next: Lsn(next), length, chain: 0 };
            let bad = SegmentHeader { predecessor, ..header() }.encode();
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderError::Damaged), "{next}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_its_version() {
        let mut block = header().encode();
        block[8..12].copy_from_slice(&[9, 0, 8, 0]);
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderError::Version(9, 8)));
    }

    #[test]
    fn only_segment_names_are_parsed() {
        assert_eq!(parse_segment_name(&segment_name(Lsn(42))), Some(Lsn(42)));
        for name in ["42.wal", "00000000000000000042.wal.tmp", "+0000000000000000042.wal", "spare"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_segment_name(&segment_name(Lsn(u64::MAX))), None);
    }
}
