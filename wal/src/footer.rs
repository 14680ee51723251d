//! The footer of a sealed segment: a frame of its own type, which is found by the last eight bytes of the file.

use std::collections::BTreeMap;
use std::io;

use super::byte_array::array;
use super::frame::{ChecksumSeed, FrameMeta};
use super::fs::File;
use super::{frame, salvage};
use crate::units::{Lsn, Timestamp};

/// The footer's index has the offset of every 256th record, so finding a record reads 128 frames on average.
pub const INDEX_STRIDE: u64 = 256;
/// Maximum number of labels counted separately per segment. All others count as `other`, so a footer stays small.
const MAX_LABELS: usize = 64;
const TRAILER_LEN: usize = 8;
/// The last bytes of a footer, and therefore of a sealed file.
pub const TRAILER_MAGIC: [u8; 4] = *b"seal";
/// Length of the fixed part of the payload: six numbers of eight bytes.
const FIXED_LEN: usize = 48;

/// The summary of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// The number after the segment's last record.
    pub next: Lsn,
    /// Number of records.
    pub records: u64,
    /// Bytes of header and records: the offset of the footer's frame.
    pub length: u64,
    /// CRC over the CRCs of its frames, in order.
    pub chain: u32,
    /// Acceptance time of the first record.
    pub first_at: Timestamp,
    /// Acceptance time of the last record.
    pub last_at: Timestamp,
    /// Number of records per label.
    pub labels: BTreeMap<String, u64>,
    /// Offsets of every `INDEX_STRIDE`th record.
    pub index: Vec<u32>,
}

impl Footer {
    /// Adds a record at `offset`.
    pub fn add(&mut self, label: &str, at: Timestamp, offset: u64, crc: u32) {
        if self.records == 0 {
            self.first_at = at;
        }
        if self.records.is_multiple_of(INDEX_STRIDE) {
            self.index.push(offset as u32);
        }
        self.records += 1;
        self.next = self.next.next();
        self.last_at = at;
        self.chain = frame::extend_chain(self.chain, crc);
        if let Some(count) = self.labels.get_mut(label) {
            *count += 1;
            return;
        }
        let label = if self.labels.len() < MAX_LABELS { label } else { "other" };
        *self.labels.entry(label.to_owned()).or_default() += 1;
    }

    /// Adds records that were lost to damage at `offset`.
    pub fn skip(&mut self, records: u64, offset: u64) {
        for _ in 0..records {
            if self.records.is_multiple_of(INDEX_STRIDE) {
                self.index.push(offset as u32);
            }
            self.records += 1;
            self.next = self.next.next();
        }
    }

    /// Upper limit of the frame's length in bytes, after `more` further records with new labels of `label` bytes.
    pub fn frame_len_with(&self, more: u64, label: usize) -> u64 {
        let labels: usize = self.labels.keys().map(|known| known.len() + 9).sum();
        let index = 4 * (self.index.len() as u64 + more / INDEX_STRIDE + 1);
        let payload =
            FIXED_LEN + TRAILER_LEN + 6 + labels + (label + 9) * more.min(MAX_LABELS as u64) as usize;
        (frame::frame_len(payload) + 2 * frame::ALIGN) as u64 + index
    }

    /// The encoded frame, to be written at `self.length`. `flushed` is its durable offset.
    pub fn encode(&self, seed: &ChecksumSeed, flushed: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        let numbers =
            [self.records, self.length, u64::from(self.chain), self.first_at.0, self.last_at.0, INDEX_STRIDE];
        for number in numbers {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        payload.extend_from_slice(&(self.labels.len() as u16).to_le_bytes());
        for (label, count) in &self.labels {
            let label = &label[..label.floor_char_boundary(255)];
            payload.push(label.len() as u8);
            payload.extend_from_slice(label.as_bytes());
            payload.extend_from_slice(&count.to_le_bytes());
        }
        payload.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        for offset in &self.index {
            payload.extend_from_slice(&offset.to_le_bytes());
        }
        // The trailer must be the last bytes of the file, so the payload must need no padding after it.
        payload.resize((payload.len() + TRAILER_LEN).next_multiple_of(frame::ALIGN) - TRAILER_LEN, 0);
        payload.extend_from_slice(&(self.length as u32).to_le_bytes());
        payload.extend_from_slice(&TRAILER_MAGIC);
        let meta = FrameMeta {
            kind: frame::FOOTER,
            lsn: self.next,
            at: self.last_at,
            lane: 0,
            ends_batch: true,
            flushed,
        };
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, seed, self.length, meta, &payload);
        bytes
    }

    /// Decodes the payload of a footer's frame.
    pub fn decode(next: Lsn, payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = u64::from_le_bytes(take(&mut rest)?);
        }
        let [records, length, chain, first_at, last_at, _stride] = numbers;
        let mut labels = BTreeMap::new();
        for _ in 0..u16::from_le_bytes(take(&mut rest)?) {
            let [len] = take(&mut rest)?;
            let (label, after) = rest.split_at_checked(len.into())?;
            rest = after;
            labels.insert(str::from_utf8(label).ok()?.to_owned(), u64::from_le_bytes(take(&mut rest)?));
        }
        let count = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (index, _trailer) = rest.split_at_checked(count.checked_mul(4)?)?;
        let index = index.chunks_exact(4).map(|offset| u32::from_le_bytes(array(offset, 0))).collect();
        Some(Self {
            next,
            records,
            length,
            chain: chain as u32,
            first_at: Timestamp(first_at),
            last_at: Timestamp(last_at),
            labels,
            index,
        })
    }

    /// Whether this can be the footer of the segment that begins with `first`. A correct checksum implies it, but loops
    /// over records must not depend on that.
    pub fn is_sound(&self, first: Lsn) -> bool {
        let frames = frame::FRAME_HEADER as u64;
        let fits = self.records.checked_mul(frames).is_some_and(|bytes| bytes <= self.length);
        fits && first.0.checked_add(self.records) == Some(self.next.0)
    }

    /// Finds the footer from the end of a sealed file; `None` if it is missing, incomplete or unreadable.
    pub fn find(file: &dyn File, seed: &ChecksumSeed) -> io::Result<Option<Self>> {
        let end = file.size()?;
        let mut trailer = [0; TRAILER_LEN];
        let Some(at) = end.checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
        if salvage::read(file, &mut trailer, at)?.len < TRAILER_LEN || trailer[4..] != TRAILER_MAGIC {
            return Ok(None);
        }
        let offset = u64::from(u32::from_le_bytes(array(&trailer, 0)));
        // A footer has 4 bytes per 256 records and at most 64 labels: far less than 64 MiB.
        let len = match end.checked_sub(offset) {
            Some(len) if len <= 64 << 20 => len as usize,
            _ => return Ok(None),
        };
        let mut bytes = vec![0; len];
        let read = salvage::read(file, &mut bytes, offset)?.len;
        Ok(match frame::decode(&bytes[..read], seed, offset, len as u64) {
            Ok(found) if found.meta.kind == frame::FOOTER => Self::decode(found.meta.lsn, found.payload),
            _ => None,
        })
    }
}

/// Writes the footer after the records, and truncates the file there. The footer is durable before the truncation.
/// Recovery reports a shorter file without a footer, because another process must have truncated it.
pub fn seal_file(file: &dyn File, at: u64, footer: &[u8]) -> io::Result<()> {
    file.write_all_at(footer, at)?;
    file.sync_data()?;
    file.set_len(at + footer.len() as u64)?;
    file.sync_all()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(records: u64) -> Footer {
        let mut footer = Footer { next: Lsn(5), length: 4096, ..Footer::default() };
        for n in 0..records {
            footer.add(&format!("kind-{}", n % 70), Timestamp(100 + n), 4096 + 8 * n, n as u32);
        }
        footer
    }

    #[test]
    fn a_footer_reads_back_as_it_was_written() {
        for records in [0, 1, 255, 256, 257, 5000] {
            let footer = filled(records);
            let seed = ChecksumSeed::new(&[1; 16]);
            let bytes = footer.encode(&seed, 4096);
            let found = frame::decode(&bytes, &seed, footer.length, bytes.len() as u64).unwrap();
            assert_eq!(found.len, bytes.len(), "the trailer ends the file");
            assert_eq!(Footer::decode(found.meta.lsn, found.payload), Some(footer));
        }
    }

    #[test]
    fn the_reserved_space_for_a_footer_suffices() {
        for records in [0, 1, 255, 256, 5000] {
            let reserved = filled(records).frame_len_with(300, 7);
            let mut later = filled(records);
            for n in 0..300 {
                later.add(&format!("new-{:03}", n), Timestamp(1), 4096, 1);
            }
            assert!(later.encode(&ChecksumSeed::new(&[1; 16]), 0).len() as u64 <= reserved, "{records}");
        }
    }

    /// Found by fuzzing: a long label was cut inside a character, and read back as a different, longer one.
    #[test]
    fn a_long_label_is_cut_between_characters() {
        let mut footer = Footer { length: 4096, ..Footer::default() };
        footer.add(&"é".repeat(200), Timestamp(1), 4096, 1);
        let seed = ChecksumSeed::new(&[1; 16]);
        let bytes = footer.encode(&seed, 0);
        let found = frame::decode(&bytes, &seed, 4096, bytes.len() as u64).unwrap();
        let read = Footer::decode(footer.next, found.payload).unwrap();
        assert_eq!(read.labels.keys().collect::<Vec<_>>(), [&"é".repeat(127)]);
    }

    /// Found by fuzzing: a start looped over the records of a footer that counts more than its segment can contain.
    #[test]
    fn a_footer_with_too_many_records_is_invalid() {
        let good = filled(300);
        assert!(!Footer { length: 4096 + 32 * 300, ..good.clone() }.is_sound(Lsn(4)));
        assert!(Footer { length: 4096 + 32 * 300, ..good.clone() }.is_sound(Lsn(5)));
        assert!(!Footer { records: 1 << 60, ..good.clone() }.is_sound(Lsn(5)));
        assert!(!Footer { records: 1 << 40, next: Lsn(5 + (1 << 40)), ..good }.is_sound(Lsn(5)));
    }

    #[test]
    fn a_truncated_footer_never_panics() {
        let footer = filled(300);
        let bytes = footer.encode(&ChecksumSeed::new(&[1; 16]), 4096);
        let payload = &bytes[frame::FRAME_HEADER..];
        for end in 0..footer.index.len() {
            assert_eq!(Footer::decode(footer.next, &payload[..end]), None);
        }
    }
}
