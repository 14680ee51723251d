//! The delivery index: the Kafka position of each delivered record, in one file of slots per segment.
//!
//! `sent/<name of the segment>` has 24 bytes per record, in order: partition (4), offset (8), milliseconds since 1970
//! (8), CRC-32 over these and the LSN (4). A slot is valid only if its record is done and its checksum is correct.
//!
//! Positions are collected in memory first. Workers confirm interleaved records, so immediate writes would mostly cover
//! a single slot. Positions are written and flushed before the checkpoint that marks their records as done. While the
//! disk rejects writes, they stay in memory. A lost position makes the record's place in Kafka unknown; no record is
//! lost.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::byte_array::array;
use super::fs::{File, Fs, OpenMode};
use super::salvage;
use super::segment_header::segment_name;
use super::types::Confirmation;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::units::{Lsn, Timestamp};

/// Directory of the index inside the log's directory.
pub const DIR: &str = "sent";
const SLOT_LEN: usize = 24;
/// Maximum number of open files. Confirmations cover only a few segments at a time, even if a partition lags.
const MAX_OPEN_FILES: usize = 8;
/// Maximum number of positions in memory: about half of the records in flight, so that most are adjacent. 1 MiB.
const MAX_PENDING: usize = 16_384;
/// Maximum number of positions in memory while the disk rejects writes, for minutes of a full disk. 8 MiB.
const MAX_PENDING_AFTER_ERROR: usize = 8 * MAX_PENDING;

/// The delivery index of one log.
pub struct DeliveryIndex {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Positions that are not written yet, in order of arrival.
    pending: Mutex<Vec<(Lsn, Confirmation)>>,
    open_files: Mutex<BTreeMap<Lsn, Arc<dyn File>>>,
    /// Whether something was written since the last flush.
    unflushed: AtomicBool,
}

impl DeliveryIndex {
    /// The index of the log in `dir`, whose `sent` directory exists.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let unflushed = AtomicBool::new(false);
        Self { fs, dir: dir.join(DIR), pending: Mutex::default(), open_files: Mutex::default(), unflushed }
    }

    /// Adds positions of records of one segment. After a write error they stay in memory and are written later.
    pub fn record(&self, segment: Lsn, confirmations: &[Confirmation]) -> io::Result<()> {
        let mut pending = self.lock_pending();
        pending.extend(confirmations.iter().map(|confirmation| (segment, *confirmation)));
        if pending.len() < MAX_PENDING { Ok(()) } else { self.write(&mut pending) }
    }

    /// Drops the oldest positions above the limit for a disk that rejects writes. Returns their number.
    pub fn drop_oldest(&self) -> usize {
        let mut pending = self.lock_pending();
        let over = pending.len().saturating_sub(MAX_PENDING_AFTER_ERROR);
        pending.drain(..over);
        over
    }

    /// Runs under the lock of pending positions, so each position is in memory or in its file. Positions that could not
    /// be written stay in memory.
    fn write(&self, pending: &mut Vec<(Lsn, Confirmation)>) -> io::Result<()> {
        // A stable sort: of two positions of one record, the later one stays last.
        pending.sort_by_key(|(_, position)| position.lsn);
        let mut written = 0;
        let outcome = pending
            .chunk_by(|(of, a), (also_of, b)| of == also_of && a.lsn.next() == b.lsn)
            .try_for_each(|run| self.write_run(run).inspect(|()| written += run.len()));
        pending.drain(..written);
        outcome
    }

    /// Writes the positions of consecutive records of one segment.
    fn write_run(&self, run: &[(Lsn, Confirmation)]) -> io::Result<()> {
        let Some((segment, first)) = run.first() else { return Ok(()) };
        let bytes: Vec<u8> = run.iter().flat_map(|(_, position)| encode(position)).collect();
        let file = self.file(*segment)?;
        // Set before the write, which may fail half-way. The lock on pending positions delays a flush until it is
        // finished.
        self.unflushed.store(true, Ordering::Release);
        file.write_all_at(&bytes, (first.lsn.0 - segment.0) * SLOT_LEN as u64)
    }

    /// The position of one record; `None` if none was stored or it was lost.
    pub fn get(&self, segment: Lsn, lsn: Lsn) -> io::Result<Option<Confirmation>> {
        if let Some((_, position)) =
            self.lock_pending().iter().rev().find(|(_, position)| position.lsn == lsn)
        {
            return Ok(Some(*position));
        }
        match self.open_segment(segment)? {
            Some(notes) => notes.get(lsn),
            None => Ok(None),
        }
    }

    /// Opens the positions of one segment for reading; `None` if there are none.
    pub fn open_segment(&self, segment: Lsn) -> io::Result<Option<SegmentDeliveries>> {
        match self.fs.open(&self.dir.join(segment_name(segment)), OpenMode::Read) {
            Ok(file) => Ok(Some(SegmentDeliveries { segment, file })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes and flushes all positions. Skips the flush if nothing was written since the last one.
    pub fn sync(&self) -> io::Result<()> {
        let unflushed = {
            let mut pending = self.lock_pending();
            self.write(&mut pending)?;
            self.unflushed.swap(false, Ordering::AcqRel)
        };
        if !unflushed {
            return Ok(());
        }
        // After a failed flush, the same files are flushed again at the next call.
        self.flush().inspect_err(|_| self.unflushed.store(true, Ordering::Release))
    }

    fn flush(&self) -> io::Result<()> {
        let mut open = self.open_files.lock();
        for file in open.values() {
            file.sync_data()?;
        }
        // The newest file stays open, because the next confirmations are most likely of its segment.
        while open.len() > 1 {
            open.pop_first();
        }
        drop(open);
        self.fs.sync_dir(&self.dir)
    }

    /// Deletes the positions of a deleted segment.
    pub fn remove(&self, segment: Lsn) -> io::Result<()> {
        self.lock_pending().retain(|(of, _)| *of != segment);
        self.open_files.lock().remove(&segment);
        match self.fs.remove(&self.dir.join(segment_name(segment))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn lock_pending(&self) -> MutexGuard<'_, Vec<(Lsn, Confirmation)>> {
        self.pending.lock()
    }

    fn file(&self, segment: Lsn) -> io::Result<Arc<dyn File>> {
        let mut open = self.open_files.lock();
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= MAX_OPEN_FILES
            && let Some((_, file)) = open.pop_first()
        {
            file.sync_data()?;
        }
        let path = self.dir.join(segment_name(segment));
        let file = match self.fs.open(&path, OpenMode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.fs.open(&path, OpenMode::Create)?,
            opened => opened?,
        };
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }
}

/// The positions of one segment, opened for reading.
pub struct SegmentDeliveries {
    /// First LSN of the segment.
    pub segment: Lsn,
    file: Arc<dyn File>,
}

impl SegmentDeliveries {
    /// The position of one record; `None` if none was stored or it was lost.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<Confirmation>> {
        let mut slot = [0; SLOT_LEN];
        let read = salvage::read(&*self.file, &mut slot, (lsn.0 - self.segment.0) * SLOT_LEN as u64)?.len;
        Ok((read == SLOT_LEN).then(|| decode(lsn, &slot)).flatten())
    }
}

pub(super) fn encode(confirmation: &Confirmation) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..4].copy_from_slice(&confirmation.partition.to_le_bytes());
    slot[4..12].copy_from_slice(&confirmation.offset.to_le_bytes());
    slot[12..20].copy_from_slice(&confirmation.at.0.to_le_bytes());
    let crc = checksum(confirmation.lsn, &slot);
    slot[20..].copy_from_slice(&crc.to_le_bytes());
    slot
}

pub(super) fn decode(lsn: Lsn, slot: &[u8; SLOT_LEN]) -> Option<Confirmation> {
    (checksum(lsn, slot) == u32::from_le_bytes(array(slot, 20))).then(|| Confirmation {
        lsn,
        bytes: 0,
        partition: i32::from_le_bytes(array(slot, 0)),
        offset: i64::from_le_bytes(array(slot, 4)),
        at: Timestamp(u64::from_le_bytes(array(slot, 12))),
    })
}

pub(super) fn checksum(lsn: Lsn, slot: &[u8; SLOT_LEN]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&lsn.0.to_le_bytes());
    hasher.update(&slot[..20]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::fs::RealFs;
    use super::*;

    #[test]
    fn a_position_reads_back_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let index = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        let position =
            |lsn, offset| Confirmation { lsn: Lsn(lsn), bytes: 0, partition: 3, offset, at: Timestamp(9) };
        index.record(Lsn(100), &[position(101, 7), position(110, 9), position(102, 8)]).unwrap();
        assert_eq!(index.get(Lsn(100), Lsn(102)).unwrap().unwrap().offset, 8, "not written yet");
        index.sync().unwrap();
        assert_eq!(index.get(Lsn(100), Lsn(102)).unwrap().unwrap().offset, 8);
        assert!(index.get(Lsn(100), Lsn(105)).unwrap().is_none(), "never stored");
        assert!(index.get(Lsn(100), Lsn(500)).unwrap().is_none(), "after the end");
        let path = dir.path().join(DIR).join(segment_name(Lsn(100)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_LEN + 5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(index.get(Lsn(100), Lsn(101)).unwrap().is_none());
    }

    fn at_offset_of_its_number(lsn: u64) -> Confirmation {
        Confirmation { lsn: Lsn(lsn), bytes: 0, partition: 0, offset: lsn as i64, at: Timestamp(9) }
    }

    #[test]
    fn pending_positions_are_bounded_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let index = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        let count = MAX_PENDING as u64 * 5 / 4;
        // Two workers confirm interleaved records.
        for odd in [0, 1] {
            for lsn in (1..=count).filter(|lsn| lsn % 2 == odd) {
                index.record(Lsn(1), &[at_offset_of_its_number(lsn)]).unwrap();
            }
        }
        assert!(index.lock_pending().len() < MAX_PENDING);
        let lost =
            (1..=count).find(|lsn| index.get(Lsn(1), Lsn(*lsn)).unwrap().unwrap().offset != *lsn as i64);
        assert_eq!(lost, None);
    }

    /// Found by a load test: while the disk was full, the status of a record lost its Kafka position again.
    #[test]
    fn unwritable_positions_stay_in_memory_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let index = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        index.record(Lsn(1), &[at_offset_of_its_number(1)]).unwrap();
        index.sync().unwrap_err();
        assert_eq!(index.get(Lsn(1), Lsn(1)).unwrap().unwrap().offset, 1);
        let more: Vec<_> = (2..=MAX_PENDING_AFTER_ERROR as u64 + 3).map(at_offset_of_its_number).collect();
        index.record(Lsn(1), &more).unwrap_err();
        assert_eq!(index.drop_oldest(), 3);
        assert!(index.get(Lsn(1), Lsn(3)).unwrap().is_none(), "the oldest one is dropped");
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        index.sync().unwrap();
        assert!(index.lock_pending().is_empty());
        assert_eq!(index.get(Lsn(1), Lsn(4)).unwrap().unwrap().offset, 4);
    }
}
