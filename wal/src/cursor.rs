//! Reads flushed records in order: from memory while the reader keeps up, and from files while it lags.

use std::io;
use std::sync::Arc;

use super::damage::DamageLocation;
use super::dead_letters::{DeadEntry, Removal};
use super::encryption::PayloadAccess;
use super::frame::DecodedFrame;
use super::log::Log;
use super::recent_blocks::RecentBlock;
use super::scanner::Scanner;
use super::segment::Segment;
use super::types::{DeadLetter, ReadError, Record, RecordRef};
use super::{damage, dead_letters, frame};
use crate::units::{Lsn, Timestamp};

/// A reader of the log. It holds at most one block and one open file.
///
/// It skips done records, and those that its caller does not want:
///
/// ```
/// # use std::sync::Arc;
/// # use forebay_wal::{NewRecord, Keys, Lsn, Options, open_locked, units::Timestamp};
/// # let home = tempfile::tempdir()?;
/// # let (keys, label, observer) = (Keys::default(), |_: &[u8]| None, Arc::new(|_: &_| {}));
/// # let options = Options { segment_size: 1 << 20, reserve_space: 0, redeliver: false, keys, label, observer };
/// # let now = Timestamp::now();
/// # let (_lock, opened) = open_locked(&home.path().join("wal"), &options, now)?;
/// # let (mut writer, log) = (opened.writer, opened.log);
/// let batch = [(1, "a"), (2, "b"), (1, "c")];
/// let batch = batch.map(|(lane, text)| NewRecord { lane, label: "note", payload: text.as_bytes() });
/// writer.append(&batch, now)?;
/// writer.commit()?;
///
/// let mut cursor = log.cursor(log.watermark());
/// let mut found = Vec::new();
/// while let Some(frame) = cursor.next(|_lsn, lane| lane == 1)? {
///     found.push(frame.payload.to_vec());
/// }
/// assert_eq!(found, [b"a", b"c"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor {
    log: Arc<Log>,
    next: Lsn,
    position: Option<ReadPosition>,
    /// Offset and LSN of the record that was returned last.
    last: Option<(u64, Lsn)>,
    /// The decrypted payload of the returned record, if the log is encrypted.
    decrypted: Vec<u8>,
}

/// The reader's position in a segment.
struct ReadPosition {
    segment: Arc<Segment>,
    offset: u64,
    /// The LSN of the record at `offset`. Smaller than `next` while the reader advances to it.
    lsn: Lsn,
    block: Option<RecentBlock>,
    scanner: Option<Scanner>,
}

impl Log {
    /// A reader of flushed records, beginning at `from` or at the oldest retained record.
    pub fn cursor(self: &Arc<Self>, from: Lsn) -> Cursor {
        Cursor { log: Arc::clone(self), next: from, position: None, last: None, decrypted: Vec::new() }
    }

    /// Reads one flushed record; `None` if it is not flushed yet, no longer retained, or damaged.
    pub fn read(self: &Arc<Self>, lsn: Lsn) -> Result<Option<Record>, ReadError> {
        if lsn >= self.end() || self.segments.containing(lsn).is_none() {
            return Ok(None);
        }
        let mut cursor = self.cursor(lsn);
        let found = cursor.next_retained()?.filter(|frame| frame.lsn == lsn);
        Ok(found.map(|f| Record { lsn, at: f.at, lane: f.lane, payload: f.payload.to_vec() }))
    }

    /// Reads a record as [`Self::read`] does. If its segment was deleted, reads the payload from the stored dead
    /// letter: that of the record, or of the record that requeued it.
    pub fn read_or_dead_letter(self: &Arc<Self>, mut lsn: Lsn) -> Result<Option<Record>, ReadError> {
        let failed = |source| ReadError::Io { path: self.dir.join(dead_letters::RELATIVE_PATH), source };
        loop {
            if let Some(record) = self.read(lsn)? {
                return Ok(Some(record));
            }
            if let Some(DeadEntry::Letter(letter)) = self.dead_letters.get(lsn).map_err(failed)? {
                let DeadLetter { lsn, accepted_at: at, payload, .. } = letter;
                return Ok(Some(Record { lsn, at, lane: 0, payload }));
            }
            match self.dead_letters.removal(lsn) {
                // Each requeued record has a larger number than the one before it.
                Some(Removal::Requeued(next)) if next > lsn => lsn = next,
                _ => return Ok(None),
            }
        }
    }

    /// Acceptance time of the first retained record at or after `lsn`; `None` if none exists. Used for ages.
    pub fn accepted_at(self: &Arc<Self>, lsn: Lsn) -> Result<Option<Timestamp>, ReadError> {
        if lsn >= self.end() {
            return Ok(None);
        }
        Ok(self.cursor(lsn).next_retained()?.map(|frame| frame.at))
    }
}

impl Cursor {
    /// The next record that is not done and for which `wanted(lsn, lane)` holds; `None` at the end of the flushed
    /// records.
    pub fn next(&mut self, wanted: impl Fn(Lsn, u8) -> bool) -> Result<Option<RecordRef<'_>>, ReadError> {
        let mut most = u64::MAX;
        self.next_within(&mut most, wanted)
    }

    /// As [`Self::next`], but checks at most `most` records and decrements it; also returns `None` when it reaches 0.
    pub fn next_within(
        &mut self,
        most: &mut u64,
        wanted: impl Fn(Lsn, u8) -> bool,
    ) -> Result<Option<RecordRef<'_>>, ReadError> {
        while *most > 0
            && let Some(found) = self.advance()?
        {
            *most -= 1;
            if wanted(found.lsn, found.lane) && !self.log.is_done(found.lsn) && self.open(&found)? {
                self.last = Some((found.offset, found.lsn));
                return self.frame(found.offset);
            }
        }
        Ok(None)
    }

    /// Moves back to the record that the last [`Self::next_within`] returned.
    pub fn step_back(&mut self) {
        if let (Some(position), Some((offset, lsn))) = (&mut self.position, self.last.take()) {
            (position.offset, position.lsn) = (offset, lsn);
            self.next = lsn;
        }
    }

    /// The next retained record, done or not.
    pub fn next_retained(&mut self) -> Result<Option<RecordRef<'_>>, ReadError> {
        while let Some(found) = self.advance()? {
            if self.open(&found)? {
                return self.frame(found.offset);
            }
        }
        Ok(None)
    }

    /// The LSN of the record that the next call checks first.
    pub fn position(&self) -> Lsn {
        self.next
    }

    /// Moves past the next record and returns its location.
    fn advance(&mut self) -> Result<Option<FoundRecord>, ReadError> {
        while self.next < self.log.end() {
            self.locate()?;
            let Some(position) = &mut self.position else { return Ok(None) };
            let (behind, length) = position.segment.extent();
            if position.offset >= length {
                // End of the segment. A number that is missing after it is in no segment.
                self.next = self.next.max(behind);
                self.position = None;
                continue;
            }
            let found = match position.find_record(&self.log, length) {
                Ok(found) => found,
                Err(_) if self.log.segments.containing(position.lsn).is_none() => {
                    // The segment expired while this reader was in it.
                    self.position = None;
                    continue;
                }
                Err(source) => {
                    return Err(ReadError::Io { path: position.segment.path(&self.log.dir), source });
                }
            };
            let Some(found) = found else {
                self.skip_damage()?;
                continue;
            };
            position.offset += found.len as u64;
            position.lsn = found.lsn.next();
            if found.lsn >= self.next {
                self.next = position.lsn;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Moves past the damage at the current position. On an error the position does not change.
    fn skip_damage(&mut self) -> Result<(), ReadError> {
        let Some(position) = &mut self.position else { return Ok(()) };
        let damaged =
            DamageLocation { segment: &position.segment, offset: position.offset, lsn: position.lsn };
        (position.offset, position.lsn) = damage::skip_damage(&self.log, damaged)?;
        self.next = self.next.max(position.lsn);
        Ok(())
    }

    /// Decrypts the record just found, if it is encrypted. Returns `false` if decryption fails: the record was altered,
    /// although its checksum is correct, and the reader skipped it as damage.
    fn open(&mut self, found: &FoundRecord) -> Result<bool, ReadError> {
        let Some(position) = &mut self.position else { return Ok(false) };
        if matches!(position.segment.access, PayloadAccess::Plain) {
            return Ok(true);
        }
        let frame = position.cached_frame(found.offset);
        let opened =
            frame.map(|frame| position.segment.access.read(frame, found.offset, &mut self.decrypted).is_ok());
        if opened == Some(true) {
            return Ok(true);
        }
        (position.offset, position.lsn) = (found.offset, found.lsn);
        self.next = found.lsn;
        self.skip_damage()?;
        Ok(false)
    }

    /// Locates the next record again after the reader left a segment.
    fn locate(&mut self) -> Result<(), ReadError> {
        if self.position.is_some() {
            return Ok(());
        }
        let holder =
            self.log.segments.containing(self.next).or_else(|| self.log.segments.first_from(self.next));
        if let Some(segment) = holder {
            self.next = self.next.max(segment.first);
            let nearest = segment.nearest_indexed(&*self.log.fs, &self.log.dir, self.next);
            let (offset, lsn) =
                nearest.map_err(|source| ReadError::Io { path: segment.path(&self.log.dir), source })?;
            self.position = Some(ReadPosition { segment, offset, lsn, block: None, scanner: None });
        }
        Ok(())
    }

    fn frame(&mut self, offset: u64) -> Result<Option<RecordRef<'_>>, ReadError> {
        Ok(self.position.as_ref().and_then(|position| {
            let found = position.cached_frame(offset)?;
            let encrypted = position.segment.access.cipher().is_some();
            Some(found.frame(if encrypted { &self.decrypted } else { found.payload }))
        }))
    }
}

/// Location of a record that was found.
struct FoundRecord {
    offset: u64,
    lsn: Lsn,
    lane: u8,
    len: usize,
}

impl ReadPosition {
    /// The record at the position; `None` if the bytes there are not the expected record.
    fn find_record(&mut self, log: &Log, length: u64) -> io::Result<Option<FoundRecord>> {
        let (first, offset, lsn) = (self.segment.first, self.offset, self.lsn);
        if self.block.as_ref().and_then(|block| block.bytes_from(first, offset)).is_none() {
            self.block = log.recent_blocks.get(first, offset);
        }
        if self.block.is_none() {
            match &mut self.scanner {
                Some(scanner) => scanner.set_limit(length),
                none => *none = Some(self.segment.scanner(&*log.fs, &log.dir)?),
            }
        }
        let found = self.decode(offset)?;
        let right = found.filter(|found| found.meta.kind == frame::RECORD && found.meta.lsn == lsn);
        Ok(right.map(|found| FoundRecord { offset, lsn, lane: found.meta.lane, len: found.len }))
    }

    fn decode(&mut self, offset: u64) -> io::Result<Option<DecodedFrame<'_>>> {
        if let Some(block) = &self.block
            && let Some(bytes) = block.bytes_from(self.segment.first, offset)
        {
            // A copy of the writer's own memory: length and checksum are correct.
            return Ok(frame::decode_trusted(bytes));
        }
        match &mut self.scanner {
            Some(scanner) => Ok(scanner.frame_at(offset)?.ok()),
            None => Ok(None),
        }
    }

    /// The frame just found at `offset`, without another check.
    fn cached_frame(&self, offset: u64) -> Option<DecodedFrame<'_>> {
        match self.block.as_ref().and_then(|block| block.bytes_from(self.segment.first, offset)) {
            Some(bytes) => frame::decode_trusted(bytes),
            None => self.scanner.as_ref()?.cached_frame(offset),
        }
    }
}
