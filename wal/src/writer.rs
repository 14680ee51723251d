//! Adds to the log: batches into a buffer, the buffer into the segment, one flush for all of it.

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

/// The only one who adds to a log. Owned by one thread: what it does needs no lock.
pub struct Writer {
    log: Arc<Log>,
    segment_size: u64,
    /// Bytes the open segment's file was filled with. Less than `segment_size` only when a start found no room.
    capacity: u64,
    segment: Arc<Segment>,
    predecessor: SegmentSeal,
    file: Arc<dyn File>,
    /// What the segment's footer will say, buffered records included.
    footer: Footer,
    /// Bytes of the segment that are flushed.
    flushed: u64,
    buffer: Vec<u8>,
    buffered: u64,
    last_at: Timestamp,
    /// How many entries of the footer's index readers know.
    indexed: usize,
}

/// Why a batch was not taken. Nothing of it is in the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It does not fit into one segment.
    #[error("the batch takes {bytes} bytes, and a segment has room for {limit}")]
    TooLarge {
        /// What it takes.
        bytes: u64,
        /// What there is.
        limit: u64,
    },
    /// The next segment is still being filled. What was appended before is committed.
    #[error("the next segment is still being filled")]
    Filling,
    /// The next segment cannot be filled. What was appended before is committed.
    #[error("there is no room for the next segment")]
    NoRoom,
    /// The log failed. What was appended and not committed before is "maybe".
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// The log failed; the first cause. Final: only a new start, with recovery, goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed and takes nothing more: {0}")]
pub struct Poisoned(pub String);

impl Writer {
    /// Begins a segment whose predecessor was sealed as `predecessor`, in a spare file.
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

    /// The log it adds to.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The first number of the open segment.
    pub fn segment(&self) -> Lsn {
        self.segment.first
    }

    /// The number the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.footer.next
    }

    /// The instant a record appended now gets: never before its predecessor's, even if the clock was set back.
    pub fn next_timestamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.last_at)
    }

    /// Bytes appended and not yet committed.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a batch to the buffer; after a crash all of it is there or nothing. `commit` makes it durable.
    ///
    /// The LSNs of the entries follow `next_lsn()`, which their payloads may depend on. Never waits for the next
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

    /// Writes and flushes everything appended since the last commit. When it returns, all of it is durable and
    /// visible to readers, none of which was woken (`Log::wake_ready_readers`); after an error nothing of it is
    /// known to be, and the log is poisoned.
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

    /// Shows readers what was just flushed.
    fn publish(&mut self, flush: Duration) {
        let bytes = std::mem::take(&mut self.buffer);
        // The next group is most likely as large as this one.
        self.buffer.reserve(bytes.len().min(1 << 20));
        let (records, len) = (std::mem::take(&mut self.buffered), bytes.len() as u64);
        let block = RecentBlock { segment: self.segment.first, offset: self.flushed, bytes: Arc::new(bytes) };
        self.flushed += len;
        self.footer.length = self.flushed;
        self.log.publish(&self.segment, block, records, self.last_at, &self.footer.index[self.indexed..]);
        self.indexed = self.footer.index.len();
        self.log.report(Event::Flushed { records, bytes: len, flush });
    }

    /// What a frame written now can say was flushed before.
    fn durable_offset(&self) -> u32 {
        match () {
            () if Failpoint::PromiseTooFar.is_set() => self.capacity as u32,
            () if Failpoint::PromiseNotAdvanced.is_set() => HEADER_LEN as u32,
            () => self.flushed as u32,
        }
    }

    /// Seals the open segment if it has records and is older than `age`, so that a quiet system lets go of what
    /// it has delivered. Without room for another segment it stays open.
    pub fn seal_if_older(&mut self, age: Duration, now: Timestamp) -> Result<(), AppendError> {
        if self.footer.records == 0 || now.since(self.segment.created) < age {
            return Ok(());
        }
        self.rotate()
    }

    /// Makes sure that the batch and, behind it, a footer fit into the open segment.
    fn make_room(&mut self, entries: &[NewRecord<'_>]) -> Result<(), AppendError> {
        // The next segment is encrypted if this one is: the keys are those of the start.
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

    /// Seal and flush the old segment → header into the spare file → flush → rename → flush the directory →
    /// publish. Nothing is accepted into a segment that is not there to its last byte.
    fn rotate(&mut self) -> Result<(), AppendError> {
        self.commit().map_err(AppendError::Poisoned)?;
        let spare = self.log.preallocated.take().map_err(|unready| match unready {
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
        let next = Self::begin(log, self.segment_size, spare, first, seal, self.last_at);
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

    /// The first failure latches; nothing is tried again.
    fn poison(&self, did: &str, error: &io::Error) -> Poisoned {
        if Failpoint::FailureNotFinal.is_set() || Failpoint::FailureLate.is_set() {
            return Poisoned(error.to_string());
        }
        let path = self.segment.path(&self.log.dir);
        Poisoned(self.log.poison(format!("could not {did} {}: {error}", path.display())).to_owned())
    }
}
