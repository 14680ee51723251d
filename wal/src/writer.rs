//! Appends to the log: batches go to a buffer, the buffer to the segment, and one flush makes all of them durable.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ack_tracker::SegmentAcks;
use super::event::Event;
use super::footer::Footer;
use super::frame::FrameMeta;
use super::fs::File;
use super::log::Log;
use super::preallocated_segment::SegmentUnavailable;
use super::recent_blocks::RecentBlock;
use super::segment::{Segment, SegmentLocation, SegmentState, segment_path};
use super::segment_header::{HEADER_LEN, SegmentHeader, SegmentSeal};
use super::types::NewRecord;
use super::{encryption, footer, frame, preallocated_segment, random};
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// The only writer of a log. One thread owns it, so its methods need no lock.
pub struct Writer {
    log: Arc<Log>,
    segment_size: u64,
    /// Preallocated bytes of the open segment. Less than `segment_size` for the first segment of a start.
    capacity: u64,
    segment: Arc<Segment>,
    predecessor: SegmentSeal,
    file: Arc<dyn File>,
    /// The footer of the segment so far, including buffered records.
    footer: Footer,
    /// Flushed bytes of the segment.
    flushed: u64,
    buffer: Vec<u8>,
    buffered: u64,
    last_at: Timestamp,
    /// Number of entries of the footer's index that readers know.
    indexed: usize,
}

/// Why a batch was not accepted. No part of it is in the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The batch does not fit in one segment.
    #[error("the batch takes {bytes} bytes, and a segment has space for {limit}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: u64,
        /// Bytes available in a segment.
        limit: u64,
    },
    /// The next segment is still being preallocated. Earlier batches are committed.
    #[error("the next segment is still being preallocated")]
    Filling,
    /// The next segment cannot be preallocated. Earlier batches are committed.
    #[error("there is not enough space for the next segment")]
    NoRoom,
    /// The log failed. Uncommitted batches may or may not exist after a restart.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// The first failure of the log. It is final: only a new start, with recovery, continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed and accepts no more records: {0}")]
pub struct Poisoned(pub String);

impl Writer {
    /// Begins a segment in a preallocated file. `predecessor` is the seal of the previous segment.
    pub(super) fn begin(
        log: Arc<Log>,
        segment_size: u64,
        file: Arc<dyn File>,
        first: Lsn,
        predecessor: SegmentSeal,
        now: Timestamp,
    ) -> io::Result<Self> {
        let capacity = file.size()?;
        let header = SegmentHeader {
            identity: log.identity.clone(),
            first,
            salt: random()?,
            created: now,
            predecessor,
            capacity,
            encrypted: log.keys.current().is_some(),
        };
        let (block, access) = encryption::new_segment_block(&header, &log.keys)?;
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        let path = segment_path(&log.dir, SegmentLocation::Pending, first);
        log.fs.rename(&log.dir.join(preallocated_segment::FILE), &path)?;
        log.preallocated.mark_renamed();
        log.pending.sync()?;
        let state = SegmentState {
            location: SegmentLocation::Pending,
            next: first,
            length: HEADER_LEN,
            sealed: false,
            last_at: now,
            index: Vec::new(),
        };
        let segment = Arc::new(Segment::new(&header, access, state));
        log.lock_acks().insert(first, SegmentAcks::default());
        log.segments.insert(Arc::clone(&segment));
        Ok(Self {
            log,
            segment_size,
            capacity,
            segment,
            predecessor,
            file,
            footer: Footer { next: first, length: HEADER_LEN, ..Footer::default() },
            flushed: HEADER_LEN,
            buffer: Vec::new(),
            buffered: 0,
            last_at: now,
            indexed: 0,
        })
    }

    /// The log that it writes to.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The first number of the open segment.
    pub fn segment(&self) -> Lsn {
        self.segment.first
    }

    /// The LSN of the next record.
    pub fn next_lsn(&self) -> Lsn {
        self.footer.next
    }

    /// The time of a record appended now. Never before that of the previous record, even if the clock was set back.
    pub fn next_timestamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.last_at)
    }

    /// Number of bytes appended and not committed yet.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a batch to the buffer. After a crash, all of it exists or nothing. `commit` makes it durable.
    ///
    /// The LSNs of the entries begin with `next_lsn()`, and payloads may contain them. Never waits for the next
    /// segment: see [`Log::wait_while_preallocating`].
    pub fn append(&mut self, entries: &[NewRecord<'_>], now: Timestamp) -> Result<Range<Lsn>, AppendError> {
        if let Some(cause) = self.log.poisoned() {
            return Err(AppendError::Poisoned(Poisoned(cause.to_owned())));
        }
        self.make_room(entries)?;
        let at = self.next_timestamp(now);
        self.last_at = at;
        let first = self.next_lsn();
        for (index, entry) in entries.iter().enumerate() {
            let offset = self.flushed + self.buffer.len() as u64;
            let meta = FrameMeta {
                kind: frame::RECORD,
                lsn: self.next_lsn(),
                at,
                lane: entry.lane,
                ends_batch: index + 1 == entries.len(),
                flushed: self.durable_offset(),
            };
            let Segment { seed, access, .. } = &*self.segment;
            let crc =
                frame::encode_with(&mut self.buffer, seed, access.cipher(), offset, meta, entry.payload);
            self.footer.add(entry.label, at, offset, crc);
        }
        self.buffered += entries.len() as u64;
        Ok(first..self.next_lsn())
    }

    /// Writes and flushes everything appended since the last commit. On return, all of it is durable and visible to
    /// readers. Readers are not woken (`Log::wake_ready_readers`). After an error, none of it is known to be durable,
    /// and the log is poisoned.
    pub fn commit(&mut self) -> Result<(), Poisoned> {
        if let Some(cause) = self.log.poisoned() {
            return Err(Poisoned(cause.to_owned()));
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.buffer, self.flushed).map_err(|e| self.poison("write to", &e))?;
        let started = Instant::now();
        if Failpoint::PublishedBeforeFlush.is_set() {
            self.publish(started.elapsed());
        }
        self.file.sync_data().map_err(|e| self.poison("flush", &e))?;
        self.publish(started.elapsed());
        Ok(())
    }

    /// Makes the bytes just flushed visible to readers.
    fn publish(&mut self, flush: Duration) {
        let bytes = std::mem::take(&mut self.buffer);
        // The next group is probably of the same size.
        self.buffer.reserve(bytes.len().min(1 << 20));
        let (records, len) = (std::mem::take(&mut self.buffered), bytes.len() as u64);
        let block = RecentBlock { segment: self.segment.first, offset: self.flushed, bytes: Arc::new(bytes) };
        self.flushed += len;
        self.footer.length = self.flushed;
        self.log.publish(&self.segment, block, records, self.last_at, &self.footer.index[self.indexed..]);
        self.indexed = self.footer.index.len();
        self.log.report(Event::Flushed { records, bytes: len, flush });
    }

    /// The durable offset for a frame that is written now.
    fn durable_offset(&self) -> u32 {
        match () {
            () if Failpoint::PromiseTooFar.is_set() => self.capacity as u32,
            () if Failpoint::PromiseNotAdvanced.is_set() => HEADER_LEN as u32,
            () => self.flushed as u32,
        }
    }

    /// Seals the open segment if it has records and is older than `age`, so that delivered records expire even without
    /// new ones. Without space for another segment it stays open.
    pub fn seal_if_older(&mut self, age: Duration, now: Timestamp) -> Result<(), AppendError> {
        if self.footer.records == 0 || now.since(self.segment.created) < age {
            return Ok(());
        }
        self.rotate()
    }

    /// Ensures that the batch, followed by a footer, fits in the open segment.
    fn make_room(&mut self, entries: &[NewRecord<'_>]) -> Result<(), AppendError> {
        // The next segment is encrypted if this one is, because the keys do not change during a run.
        let bytes: u64 = entries.iter().map(|entry| self.segment.frame_len(entry.payload.len())).sum();
        let count = entries.len() as u64;
        let label = entries.iter().map(|entry| entry.label.len()).max().unwrap_or(0);
        let overhead = HEADER_LEN + Footer::default().frame_len_with(count, label);
        let limit = self.segment_size.saturating_sub(overhead);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let used = self.flushed + self.buffer.len() as u64;
        if used + bytes + self.footer.frame_len_with(count, label) > self.capacity {
            self.rotate()?;
        }
        Ok(())
    }

    /// Seals and flushes the old segment. Then writes the header into the preallocated segment, flushes it, renames it,
    /// flushes the directory, and publishes it. Nothing is accepted into a segment that is not preallocated to its last
    /// byte.
    fn rotate(&mut self) -> Result<(), AppendError> {
        self.commit().map_err(AppendError::Poisoned)?;
        let file = self.log.preallocated.take().map_err(|unready| match unready {
            SegmentUnavailable::Filling => AppendError::Filling,
            SegmentUnavailable::OutOfSpace => AppendError::NoRoom,
        })?;
        let seal = match self.footer.records {
            // An empty segment is replaced, not sealed: its successor would have the same name.
            0 => self.predecessor,
            _ => self.seal().map_err(|e| AppendError::Poisoned(self.poison("seal", &e)))?,
        };
        let (log, first) = (Arc::clone(&self.log), self.next_lsn());
        self.log.report(Event::Rotated { first: self.segment.first, records: self.footer.records });
        let next = Self::begin(log, self.segment_size, file, first, seal, self.last_at);
        *self = next.map_err(|e| AppendError::Poisoned(self.poison("begin a segment after", &e)))?;
        Ok(())
    }

    fn seal(&mut self) -> io::Result<SegmentSeal> {
        let bytes = self.footer.encode(&self.segment.seed, self.flushed as u32);
        footer::seal_file(&*self.file, self.flushed, &bytes)?;
        self.segment.update(|state| {
            state.sealed = true;
            state.index = Vec::new();
        });
        self.log.lock_acks().seal(self.segment.first);
        Ok(SegmentSeal {
            first: self.segment.first,
            next: self.footer.next,
            length: self.footer.length,
            chain: self.footer.chain,
        })
    }

    /// Stores the first failure. Nothing is retried.
    fn poison(&self, did: &str, error: &io::Error) -> Poisoned {
        if Failpoint::FailureNotFinal.is_set() || Failpoint::FailureLate.is_set() {
            return Poisoned(error.to_string());
        }
        let path = self.segment.path(&self.log.dir);
        Poisoned(self.log.poison(format!("could not {did} {}: {error}", path.display())).to_owned())
    }
}
