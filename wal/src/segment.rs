//! The segments of an open log: their locations, and how far each is flushed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encryption::PayloadAccess;
use super::footer::{Footer, INDEX_STRIDE};
use super::frame::ChecksumSeed;
use super::fs::{File, Fs, OpenMode};
use super::scanner::Scanner;
use super::segment_header::{HEADER_LEN, SegmentHeader};
use super::{frame, segment_header};
use crate::sync::RwLock;
use crate::units::{Lsn, Timestamp};

/// The directory of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentLocation {
    /// `pending/`: not completely delivered.
    Pending,
    /// `acked/`: delivered, retained for replay.
    Acked,
}

impl SegmentLocation {
    /// Name of the directory.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acked => "acked",
        }
    }
}

/// The changeable state of a segment.
#[derive(Clone, Debug)]
pub struct SegmentState {
    /// Directory of the segment.
    pub location: SegmentLocation,
    /// The number after its last flushed record.
    pub next: Lsn,
    /// Bytes of header and flushed records.
    pub length: u64,
    /// Whether it has its footer, so that no record will be added.
    pub sealed: bool,
    /// Acceptance time of the last record.
    pub last_at: Timestamp,
    /// Offsets of every `INDEX_STRIDE`th record while the segment is open. Later they are in the footer.
    pub index: Vec<u32>,
}

/// One segment.
pub struct Segment {
    /// First LSN.
    pub first: Lsn,
    /// Creation time.
    pub created: Timestamp,
    /// Start value of its checksums.
    pub seed: ChecksumSeed,
    /// How its payloads are read.
    pub access: PayloadAccess,
    /// Number of records per label, if an earlier run sealed it and its footer is readable; else empty.
    pub labels: BTreeMap<String, u64>,
    state: RwLock<SegmentState>,
}

impl Segment {
    /// A segment with this header and state.
    pub fn new(header: &SegmentHeader, access: PayloadAccess, state: SegmentState) -> Self {
        Self {
            first: header.first,
            created: header.created,
            seed: ChecksumSeed::new(&header.salt),
            access,
            labels: BTreeMap::new(),
            state: RwLock::new(state),
        }
    }

    /// The same segment, with the label counts of its footer.
    pub fn with_labels(self, labels: BTreeMap<String, u64>) -> Self {
        Self { labels, ..self }
    }

    /// A copy of the state.
    pub fn state(&self) -> SegmentState {
        self.state.read().clone()
    }

    /// The number after its last flushed record, and the bytes flushed.
    pub fn flushed(&self) -> (Lsn, u64) {
        self.with_state(|state| (state.next, state.length))
    }

    /// The number with which a reader continues after the segment, and the flushed bytes. A closed segment without
    /// footer and successor may have no record at all; the reader then still continues after its first number. The open
    /// segment's first record may still be written.
    pub fn extent(&self) -> (Lsn, u64) {
        let least = |sealed: bool| if sealed { self.first.next() } else { self.first };
        self.with_state(|state| (state.next.max(least(state.sealed)), state.length))
    }

    /// Reads the state without a copy.
    fn with_state<T>(&self, at: impl FnOnce(&SegmentState) -> T) -> T {
        at(&self.state.read())
    }

    /// Changes the state.
    pub fn update<T>(&self, change: impl FnOnce(&mut SegmentState) -> T) -> T {
        change(&mut self.state.write())
    }

    /// Current path of the file.
    pub fn path(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.with_state(|state| state.location), self.first)
    }

    /// Opens the file in its current directory. It may be moved to `acked/` at any moment.
    pub fn open(&self, fs: &dyn Fs, dir: &Path) -> io::Result<Arc<dyn File>> {
        match fs.open(&segment_path(dir, SegmentLocation::Pending, self.first), OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs.open(&segment_path(dir, SegmentLocation::Acked, self.first), OpenMode::Read)
            }
            opened => opened,
        }
    }

    /// Bytes of a frame in this segment for a payload of `payload` bytes.
    pub fn frame_len(&self, payload: usize) -> u64 {
        frame::frame_len(payload + self.access.overhead()) as u64
    }

    /// A scanner of the flushed frames.
    pub fn scanner(&self, fs: &dyn Fs, dir: &Path) -> io::Result<Scanner> {
        Ok(Scanner::new(self.open(fs, dir)?, self.seed.clone(), self.flushed().1))
    }

    /// The last indexed offset at or before the record `lsn`, with the LSN of the record there.
    pub fn nearest_indexed(&self, fs: &dyn Fs, dir: &Path, lsn: Lsn) -> io::Result<(u64, Lsn)> {
        let state = self.state();
        let index = match state.sealed {
            true => Footer::find(&*self.open(fs, dir)?, &self.seed)?
                .map(|footer| footer.index)
                .unwrap_or_default(),
            false => state.index,
        };
        let slot = (lsn.0.saturating_sub(self.first.0) / INDEX_STRIDE) as usize;
        Ok(match index.get(slot) {
            Some(&offset) => (offset.into(), self.first.plus(slot as u64 * INDEX_STRIDE)),
            None => (HEADER_LEN, self.first),
        })
    }
}

/// Path of a segment's file.
pub fn segment_path(dir: &Path, place: SegmentLocation, first: Lsn) -> PathBuf {
    dir.join(place.dir()).join(segment_header::segment_name(first))
}

/// All segments, by first LSN.
#[derive(Default)]
pub struct Segments(RwLock<BTreeMap<Lsn, Arc<Segment>>>);

impl Segments {
    /// Adds a segment.
    pub fn insert(&self, segment: Arc<Segment>) {
        self.0.write().insert(segment.first, segment);
    }

    /// Removes a segment.
    pub fn remove(&self, first: Lsn) {
        self.0.write().remove(&first);
    }

    /// The segment that has `lsn`, or will have it when it is flushed; `None` if it is no longer retained.
    pub fn containing(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let all = self.0.read();
        let (_, segment) = all.range(..=lsn).next_back()?;
        segment.with_state(|state| !state.sealed || lsn < state.next).then(|| Arc::clone(segment))
    }

    /// The first segment that begins at or after `lsn`.
    pub fn first_from(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let all = self.0.read();
        all.range(lsn..).next().map(|(_, segment)| Arc::clone(segment))
    }

    /// Number of LSNs from `from` up to `to` that are in a segment.
    pub fn count_retained(&self, from: Lsn, to: Lsn) -> u64 {
        let all = self.0.read();
        let before = all.range(..to).rev().map(|(first, segment)| (*first, segment.flushed().0));
        let overlapping = before.take_while(|(_, next)| *next > from);
        overlapping.map(|(first, next)| next.min(to).0.saturating_sub(first.max(from).0)).sum()
    }

    /// All segments, oldest first.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().values().cloned().collect()
    }
}
