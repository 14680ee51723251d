//! The checkpoint: which records are done at one moment. Losing it causes duplicate deliveries, never lost records.

use std::ops::Range;
use std::path::Path;
use std::{fmt, io};

use super::ack_tracker::SegmentAcks;
use super::byte_array::array;
use super::fs::Fs;
use super::segment::SegmentLocation;
use super::transactions::{Epoch, Transactions};
use super::{fs, salvage};
use crate::units::{Lsn, Timestamp};

/// The file's name in the log's directory.
pub const FILE: &str = "checkpoint";
const MAGIC: [u8; 8] = *b"forebayc";
/// Version without transactions.
const VERSION_PLAIN: u32 = 1;
/// Version with transactions. Written only if there are any, so that older versions can read other checkpoints.
const VERSION_WITH_TRANSACTIONS: u32 = 2;
/// 10 million records in flight above the watermark take 1.25 MB. A file 100 times larger is not a valid checkpoint.
const MAX_BYTES: u64 = 256 << 20;

/// What was flushed when the checkpoint was taken. A log that contains less has lost records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurablePosition {
    /// First LSN of the segment that was open.
    pub segment: Lsn,
    /// Flushed bytes of that segment, with its header.
    pub length: u64,
    /// The first LSN that was not flushed.
    pub next: Lsn,
}

/// The state that a start needs in addition to the segments, and that an operator wants to see first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Id of the log it belongs to.
    pub log_id: [u8; 16],
    /// Time at which it was taken.
    pub written_at: Timestamp,
    /// All records with a smaller LSN are done.
    pub watermark: Lsn,
    /// The durable position.
    pub durable: DurablePosition,
    /// Acknowledgement state of the segments that hold the watermark or are above it.
    pub segments: Vec<(Lsn, SegmentAcks)>,
    /// State of the transactions.
    pub transactions: Transactions,
}

/// Why a checkpoint could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file does not exist.
    Missing,
    /// Its content is damaged.
    Damaged,
    /// The disk cannot read a part of the file.
    Unreadable(String),
    /// Another I/O error.
    Io(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Damaged => f.write_str("damaged"),
            Self::Unreadable(detail) => f.write_str(detail),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl Checkpoint {
    /// Replaces the checkpoint of the log in `dir`. It is durable when this returns.
    pub fn save(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        fs::replace_file(fs, &dir.join(FILE), &self.encode())
    }

    /// Loads the checkpoint of the log in `dir`.
    pub fn load(fs: &dyn Fs, dir: &Path) -> Result<Self, LoadError> {
        match salvage::read_file(fs, dir, &dir.join(FILE), MAX_BYTES) {
            Ok(Some((bytes, unreadable))) => match unreadable.detail(FILE) {
                Some(detail) => Err(LoadError::Unreadable(detail)),
                None => Self::decode(&bytes).ok_or(LoadError::Damaged),
            },
            Ok(None) => Err(LoadError::Missing),
            Err(e) => Err(LoadError::Io(e)),
        }
    }

    /// Whether a start from either checkpoint has the same result. Ignores the time.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let Self { log_id, written_at: _, watermark, durable, segments, transactions } = self;
        (log_id, watermark, durable) == (&other.log_id, &other.watermark, &other.durable)
            && (segments, transactions) == (&other.segments, &other.transactions)
    }

    /// The saved state of one segment: which of its records are done.
    pub fn segment_acks(&self, first: Lsn) -> Option<&SegmentAcks> {
        self.segments.iter().find(|(saved, _)| *saved == first).map(|(_, acks)| acks)
    }

    /// Acknowledgement state of a segment that now has `count` records in `bytes` bytes. The checkpoint decides, in
    /// whichever directory the segment is. Without a checkpoint, records in `acked/` are done.
    pub fn current_acks(
        known: Option<&Self>,
        first: Lsn,
        place: SegmentLocation,
        count: u64,
        bytes: u64,
    ) -> SegmentAcks {
        let done = match known {
            Some(checkpoint) => checkpoint.undone_bounds(first..first.plus(count)).is_none(),
            None => place == SegmentLocation::Acked,
        };
        if done {
            return SegmentAcks {
                count,
                bytes,
                done: count,
                done_bytes: bytes,
                sealed: false,
                bits: Vec::new(),
            };
        }
        let saved = known.and_then(|checkpoint| checkpoint.segment_acks(first)).cloned();
        let mut acks = saved.filter(|acks| acks.count <= count && acks.bytes <= bytes).unwrap_or_default();
        acks.extend(count - acks.count, bytes - acks.bytes);
        acks
    }

    /// Whether a record was done when the checkpoint was taken.
    pub fn was_done(&self, lsn: Lsn) -> bool {
        lsn < self.watermark || self.done_run(lsn).0
    }

    /// The first and the last record of a range that were not done when the checkpoint was taken; `None` if all were.
    /// Skips whole segments: after a stuck record there may be a day of delivered records.
    pub fn undone_bounds(&self, range: Range<Lsn>) -> Option<(Lsn, Lsn)> {
        let mut found: Option<(Lsn, Lsn)> = None;
        let mut at = range.start.max(self.watermark);
        while at < range.end {
            let (done, until) = self.done_run(at);
            let until = until.min(range.end);
            if !done {
                found = Some((found.map_or(at, |(from, _)| from), Lsn(until.0 - 1)));
            }
            at = until;
        }
        found
    }

    /// Whether a record was done, and the end of the run of records that are known to have the same state.
    fn done_run(&self, at: Lsn) -> (bool, Lsn) {
        let behind = self.segments.partition_point(|(first, _)| *first <= at);
        let holder = behind.checked_sub(1).map(|index| &self.segments[index]);
        match holder.filter(|(first, acks)| at.0 - first.0 < acks.count) {
            Some((first, acks)) if acks.done == acks.count => (true, first.plus(acks.count)),
            Some((first, acks)) => (acks.is_done(at.0 - first.0), at.next()),
            None => (false, self.segments.get(behind).map_or(Lsn(u64::MAX), |(next, _)| *next)),
        }
    }

    /// Layout: magic, version, log id, six numbers; then seven numbers and the words of each segment. Version 2 adds
    /// the number of transactional ids (all ones: unknown), the number of epochs, and incarnation, first LSN and end of
    /// each epoch. CRC-32 over all bytes at the end.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        let version = if self.transactions.has_any() { VERSION_WITH_TRANSACTIONS } else { VERSION_PLAIN };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&self.log_id);
        let DurablePosition { segment, length, next } = self.durable;
        let count = self.segments.len() as u64;
        for number in [self.written_at.0, self.watermark.0, segment.0, length, next.0, count] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (first, acks) in &self.segments {
            let words = acks.bits.len() as u64;
            let sealed = u64::from(acks.sealed);
            for number in [first.0, acks.count, acks.bytes, acks.done, acks.done_bytes, sealed, words] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend(acks.bits.iter().flat_map(|word| word.to_le_bytes()));
        }
        if version == VERSION_WITH_TRANSACTIONS {
            let Transactions { ids, epochs } = &self.transactions;
            out.extend_from_slice(&ids.unwrap_or(u64::MAX).to_le_bytes());
            out.extend_from_slice(&(epochs.len() as u64).to_le_bytes());
            for epoch in epochs {
                out.extend_from_slice(&epoch.incarnation);
                out.extend_from_slice(&epoch.from.0.to_le_bytes());
                out.extend_from_slice(&epoch.to.0.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Whether later arithmetic cannot overflow: segments are in order, and no more records are done than exist.
    fn is_sound(&self) -> bool {
        let end = |(first, acks): &(Lsn, SegmentAcks)| first.0.checked_add(acks.count);
        let in_order =
            self.segments.windows(2).all(|pair| end(&pair[0]).is_some_and(|end| end <= pair[1].0.0))
                && self.segments.last().is_none_or(|last| end(last).is_some());
        in_order && self.segments.iter().all(|(_, acks)| acks.is_sound())
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) || body.len() < 28 || body[..8] != MAGIC {
            return None;
        }
        let version = u32::from_le_bytes(array(body, 8));
        if version != VERSION_PLAIN && version != VERSION_WITH_TRANSACTIONS {
            return None;
        }
        let mut numbers = body[28..].chunks_exact(8).map(|word| u64::from_le_bytes(array(word, 0)));
        let mut number = || numbers.next();
        let mut checkpoint = Self {
            log_id: array(body, 12),
            written_at: Timestamp(number()?),
            watermark: Lsn(number()?),
            durable: DurablePosition { segment: Lsn(number()?), length: number()?, next: Lsn(number()?) },
            segments: Vec::new(),
            transactions: Transactions::empty(),
        };
        for _ in 0..number()? {
            let first = Lsn(number()?);
            let mut acks = SegmentAcks {
                count: number()?,
                bytes: number()?,
                done: number()?,
                done_bytes: number()?,
                sealed: match number()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                bits: Vec::new(),
            };
            for _ in 0..number()? {
                acks.bits.push(number()?);
            }
            checkpoint.segments.push((first, acks));
        }
        if version == VERSION_WITH_TRANSACTIONS {
            let ids = number()?;
            checkpoint.transactions.ids = (ids != u64::MAX).then_some(ids);
            for _ in 0..number()? {
                let (high, low) = (number()?.to_le_bytes(), number()?.to_le_bytes());
                let mut incarnation = [0; 16];
                incarnation[..8].copy_from_slice(&high);
                incarnation[8..].copy_from_slice(&low);
                let epoch = Epoch { incarnation, from: Lsn(number()?), to: Lsn(number()?) };
                checkpoint.transactions.epochs.push(epoch);
            }
        }
        // Each state has exactly one encoding: no bytes are left over, and version 2 is used only where it is needed.
        let is_all = number().is_none() && body[28..].len().is_multiple_of(8);
        let is_plain = !checkpoint.transactions.has_any();
        (is_all && is_plain == (version == VERSION_PLAIN) && checkpoint.is_sound()).then_some(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let acks =
            SegmentAcks { count: 70, bytes: 700, done: 3, done_bytes: 30, sealed: true, bits: vec![5, 1] };
        Checkpoint {
            log_id: [1; 16],
            written_at: Timestamp(2),
            watermark: Lsn(3),
            durable: DurablePosition { segment: Lsn(4), length: 4096, next: Lsn(5) },
            segments: vec![(Lsn(1), acks), (Lsn(71), SegmentAcks::default())],
            transactions: Transactions::empty(),
        }
    }

    /// Each state has exactly one encoding, so additional bytes are damage.
    #[test]
    fn a_checkpoint_with_additional_bytes_is_damaged() {
        for more in [1, 8] {
            let good = sample().encode();
            let mut bad = good[..good.len() - 4].to_vec();
            bad.extend(vec![0; more]);
            bad.extend(crc32fast::hash(&bad).to_le_bytes());
            assert_eq!(Checkpoint::decode(&bad), None, "{more}");
        }
    }

    fn with_transactions() -> Checkpoint {
        let epoch = |n, from, to| Epoch { incarnation: [n; 16], from: Lsn(from), to: Lsn(to) };
        let epochs = vec![epoch(7, 1, 40), epoch(8, 40, u64::MAX)];
        Checkpoint { transactions: Transactions { ids: Some(3), epochs }, ..sample() }
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        assert_eq!(Checkpoint::decode(&sample().encode()), Some(sample()));
        let mut other = with_transactions();
        assert_eq!(Checkpoint::decode(&other.encode()), Some(other.clone()));
        other.transactions.ids = None;
        assert_eq!(Checkpoint::decode(&other.encode()), Some(other));
    }

    /// The bytes of version 2. Later versions must read them.
    #[test]
    fn a_checkpoint_with_transactions_extends_one_without() {
        let (plain, more) = (sample().encode(), with_transactions().encode());
        assert_eq!((plain[8], more[8]), (1, 2), "older versions read checkpoints without transactions");
        assert_eq!(plain[12..plain.len() - 4], more[12..plain.len() - 4]);
        let words: Vec<u8> = [3, 2].iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
        let epochs = [(7, 1, 40), (8, 40, u64::MAX)].iter().flat_map(|&(n, from, to): &(u8, u64, u64)| {
            [[n; 16].to_vec(), from.to_le_bytes().to_vec(), to.to_le_bytes().to_vec()].concat()
        });
        let expected: Vec<u8> = words.into_iter().chain(epochs).collect();
        assert_eq!(more[plain.len() - 4..more.len() - 4], expected);
    }

    #[test]
    fn undone_records_are_found_by_skipping_segments() {
        let day = 5_000_000_000;
        let mut checkpoint = sample();
        let retired = SegmentAcks { count: day, done: day, sealed: true, ..SegmentAcks::default() };
        checkpoint.segments = vec![checkpoint.segments[0].clone(), (Lsn(71), retired)];
        assert_eq!(checkpoint.undone_bounds(Lsn(71)..Lsn(71 + day)), None);
        assert_eq!(
            checkpoint.undone_bounds(Lsn(1)..Lsn(71 + day)),
            Some((Lsn(4), Lsn(70))),
            "65 is done in between"
        );
        assert_eq!(checkpoint.undone_bounds(Lsn(71)..Lsn(80 + day)), Some((Lsn(71 + day), Lsn(79 + day))));
        checkpoint.watermark = Lsn(100 + day);
        assert_eq!(checkpoint.undone_bounds(Lsn(1)..Lsn(80 + day)), None);
    }

    #[test]
    fn impossible_acknowledgement_state_is_refused() {
        let spoil: [fn(&mut Checkpoint); 4] = [
            |c| c.segments[0].1.done = 71,
            |c| c.segments[0].1.done = 2,
            |c| c.segments[0].1.count = u64::MAX,
            |c| c.segments[1].0 = Lsn(70),
        ];
        for (case, spoil) in spoil.into_iter().enumerate() {
            let mut checkpoint = sample();
            spoil(&mut checkpoint);
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), None, "{case}");
        }
    }

    #[test]
    fn a_cut_or_flipped_checkpoint_is_refused() {
        for good in [sample().encode(), with_transactions().encode()] {
            assert_damaged_is_refused(&good);
        }
    }

    fn assert_damaged_is_refused(good: &[u8]) {
        for end in 0..good.len() {
            assert_eq!(Checkpoint::decode(&good[..end]), None);
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(&bad), None, "bit {bit}");
        }
    }
}
