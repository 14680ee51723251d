//! Where Kafka put each record: beside every segment a file of slots, one a record.
//!
//! `sent/<name of the segment>`: 24 bytes a record, in order: partition (4), offset (8), milliseconds since 1970
//! (8), CRC-32 over these and the LSN (4). A slot is believed only if its record is done and its checksum is
//! right. Notes gather in memory, because workers confirm records that lie between one another: written as they come,
//! nearly each would be a write of its own. They are written and flushed before the checkpoint that calls their records
//! done; while the disk takes none they stay in memory. One that is lost costs the answer to "where?", no record.

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

/// The directory in the log's.
pub const DIR: &str = "sent";
const SLOT_LEN: usize = 24;
/// Files kept open: confirmations of a few segments come at a time, also when one partition lags.
const MAX_OPEN_FILES: usize = 8;
/// Notes kept in memory: about half of what may be in flight, so that most of them are neighbours. 1 MiB.
const MAX_PENDING: usize = 16_384;
/// Notes kept in memory while the disk takes none, for minutes of a full disk. 8 MiB.
const MAX_PENDING_AFTER_ERROR: usize = 8 * MAX_PENDING;

/// The notes of one log.
pub struct DeliveryIndex {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Not written yet, in the order they came.
    pending: Mutex<Vec<(Lsn, Confirmation)>>,
    open_files: Mutex<BTreeMap<Lsn, Arc<dyn File>>>,
    /// Whether something was written since the last flush.
    unflushed: AtomicBool,
}

impl DeliveryIndex {
    /// The notes of the log in `dir`; its `sent` directory exists.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let unflushed = AtomicBool::new(false);
        Self { fs, dir: dir.join(DIR), pending: Mutex::default(), open_files: Mutex::default(), unflushed }
    }

    /// Notes confirmations of records of one segment. After an error they are kept, and written later.
    pub fn record(&self, segment: Lsn, confirmations: &[Confirmation]) -> io::Result<()> {
        let mut fresh = self.lock_pending();
        fresh.extend(confirmations.iter().map(|confirmation| (segment, *confirmation)));
        if fresh.len() < MAX_PENDING { Ok(()) } else { self.write(&mut fresh) }
    }

    /// Forgets the oldest of more notes than may wait for a disk that takes none; says how many.
    pub fn drop_oldest(&self) -> usize {
        let mut fresh = self.lock_pending();
        let over = fresh.len().saturating_sub(MAX_PENDING_AFTER_ERROR);
        fresh.drain(..over);
        over
    }

    /// Under the lock of what is written: a note is in memory or in its file, never in between. What could not be
    /// written stays in memory.
    fn write(&self, fresh: &mut Vec<(Lsn, Confirmation)>) -> io::Result<()> {
        // Stable: of two notes of one record the later stays the later.
        fresh.sort_by_key(|(_, note)| note.lsn);
        let mut written = 0;
        let outcome = fresh
            .chunk_by(|(of, a), (also_of, b)| of == also_of && a.lsn.next() == b.lsn)
            .try_for_each(|run| self.write_run(run).inspect(|()| written += run.len()));
        fresh.drain(..written);
        outcome
    }

    /// Writes notes of records that follow one another in one segment.
    fn write_run(&self, run: &[(Lsn, Confirmation)]) -> io::Result<()> {
        let Some((segment, first)) = run.first() else { return Ok(()) };
        let bytes: Vec<u8> = run.iter().flat_map(|(_, note)| encode(note)).collect();
        let file = self.file(*segment)?;
        // Before the write, which may fail half-way; the lock of what is written keeps a flush out until it is done.
        self.unflushed.store(true, Ordering::Release);
        file.write_all_at(&bytes, (first.lsn.0 - segment.0) * SLOT_LEN as u64)
    }

    /// The note of one record; `None` when there is none or it was lost.
    pub fn get(&self, segment: Lsn, lsn: Lsn) -> io::Result<Option<Confirmation>> {
        if let Some((_, note)) = self.lock_pending().iter().rev().find(|(_, note)| note.lsn == lsn) {
            return Ok(Some(*note));
        }
        match self.open_segment(segment)? {
            Some(notes) => notes.get(lsn),
            None => Ok(None),
        }
    }

    /// The notes of one segment, to read; `None` when there are none.
    pub fn open_segment(&self, segment: Lsn) -> io::Result<Option<SegmentDeliveries>> {
        match self.fs.open(&self.dir.join(segment_name(segment)), OpenMode::Read) {
            Ok(file) => Ok(Some(SegmentDeliveries { segment, file })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes what was noted durable. Flushes nothing where nothing was written.
    pub fn sync(&self) -> io::Result<()> {
        let unflushed = {
            let mut fresh = self.lock_pending();
            self.write(&mut fresh)?;
            self.unflushed.swap(false, Ordering::AcqRel)
        };
        if !unflushed {
            return Ok(());
        }
        // What a failed flush leaves is flushed, or fails, again.
        self.flush().inspect_err(|_| self.unflushed.store(true, Ordering::Release))
    }

    fn flush(&self) -> io::Result<()> {
        let mut open = self.open_files.lock();
        for file in open.values() {
            file.sync_data()?;
        }
        // The newest stays open: the next confirmations are most likely its own.
        while open.len() > 1 {
            open.pop_first();
        }
        drop(open);
        self.fs.sync_dir(&self.dir)
    }

    /// Removes the notes of a segment that is gone.
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

/// The notes of one segment, opened to read.
pub struct SegmentDeliveries {
    /// Its first LSN.
    pub segment: Lsn,
    file: Arc<dyn File>,
}

impl SegmentDeliveries {
    /// The note of one record; `None` when there is none or it was lost.
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
    fn a_note_is_found_again_and_a_spoilt_one_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let sent = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        let note =
            |lsn, offset| Confirmation { lsn: Lsn(lsn), bytes: 0, partition: 3, offset, at: Timestamp(9) };
        sent.record(Lsn(100), &[note(101, 7), note(110, 9), note(102, 8)]).unwrap();
        assert_eq!(sent.get(Lsn(100), Lsn(102)).unwrap().unwrap().offset, 8, "not written yet");
        sent.sync().unwrap();
        assert_eq!(sent.get(Lsn(100), Lsn(102)).unwrap().unwrap().offset, 8);
        assert!(sent.get(Lsn(100), Lsn(105)).unwrap().is_none(), "a hole");
        assert!(sent.get(Lsn(100), Lsn(500)).unwrap().is_none(), "behind the end");
        let path = dir.path().join(DIR).join(segment_name(Lsn(100)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_LEN + 5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(sent.get(Lsn(100), Lsn(101)).unwrap().is_none());
    }

    fn at_offset_of_its_number(lsn: u64) -> Confirmation {
        Confirmation { lsn: Lsn(lsn), bytes: 0, partition: 0, offset: lsn as i64, at: Timestamp(9) }
    }

    #[test]
    fn notes_in_memory_are_bounded_and_none_is_lost_on_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let sent = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        let count = MAX_PENDING as u64 * 5 / 4;
        // As two workers confirm them: those between one another's.
        for odd in [0, 1] {
            for lsn in (1..=count).filter(|lsn| lsn % 2 == odd) {
                sent.record(Lsn(1), &[at_offset_of_its_number(lsn)]).unwrap();
            }
        }
        assert!(sent.lock_pending().len() < MAX_PENDING);
        let lost =
            (1..=count).find(|lsn| sent.get(Lsn(1), Lsn(*lsn)).unwrap().unwrap().offset != *lsn as i64);
        assert_eq!(lost, None);
    }

    /// Found by a storm: while the disk was full, a status that had said where forgot it.
    #[test]
    fn notes_that_cannot_be_written_wait_in_memory_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let sent = DeliveryIndex::new(Arc::new(RealFs), dir.path());
        sent.record(Lsn(1), &[at_offset_of_its_number(1)]).unwrap();
        sent.sync().unwrap_err();
        assert_eq!(sent.get(Lsn(1), Lsn(1)).unwrap().unwrap().offset, 1);
        let more: Vec<_> = (2..=MAX_PENDING_AFTER_ERROR as u64 + 3).map(at_offset_of_its_number).collect();
        sent.record(Lsn(1), &more).unwrap_err();
        assert_eq!(sent.drop_oldest(), 3);
        assert!(sent.get(Lsn(1), Lsn(3)).unwrap().is_none(), "the oldest");
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        sent.sync().unwrap();
        assert!(sent.lock_pending().is_empty());
        assert_eq!(sent.get(Lsn(1), Lsn(4)).unwrap().unwrap().offset, 4);
    }
}
