//! The segments of an open log: which there are, where they lie, how far each is flushed.

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

/// Which directory a segment lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentLocation {
    /// Not yet fully delivered.
    Pending,
    /// Delivered, kept for replay.
    Acked,
}

impl SegmentLocation {
    /// The directory's name.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acked => "acked",
        }
    }
}

/// How far a segment has come.
#[derive(Clone, Debug)]
pub struct SegmentState {
    /// Where it lies.
    pub location: SegmentLocation,
    /// The number after its last flushed record.
    pub next: Lsn,
    /// Bytes of header and flushed records.
    pub length: u64,
    /// Whether it has its footer: nothing will be added.
    pub sealed: bool,
    /// When its last record was accepted.
    pub last_at: Timestamp,
    /// Offsets of every `INDEX_STRIDE`th record while it is open; the footer has them afterwards.
    pub index: Vec<u32>,
}

/// One segment.
pub struct Segment {
    /// Its first LSN.
    pub first: Lsn,
    /// When it began.
    pub created: Timestamp,
    /// What its checksums begin with.
    pub seed: ChecksumSeed,
    /// How its payloads are read.
    pub access: PayloadAccess,
    /// Records per label, if it was sealed in an earlier life and its footer is readable; else none.
    pub labels: BTreeMap<String, u64>,
    state: RwLock<SegmentState>,
}

impl Segment {
    /// A segment as recovery or rotation found or made it.
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

    /// The same with what its footer counts.
    pub fn with_labels(self, labels: BTreeMap<String, u64>) -> Self {
        Self { labels, ..self }
    }

    /// A copy of its state.
    pub fn state(&self) -> SegmentState {
        self.state.read().clone()
    }

    /// The number after its last flushed record, and the bytes flushed.
    pub fn flushed(&self) -> (Lsn, u64) {
        self.with_state(|state| (state.next, state.length))
    }

    /// The number at which a reader goes on behind it, and the bytes flushed. A closed one that lost its footer and its
    /// successor may hold no record at all: the way on is behind its first number all the same. The first of the open
    /// one is still to come.
    pub fn extent(&self) -> (Lsn, u64) {
        let least = |sealed: bool| if sealed { self.first.next() } else { self.first };
        self.with_state(|state| (state.next.max(least(state.sealed)), state.length))
    }

    /// Looks at its state without a copy.
    fn with_state<T>(&self, at: impl FnOnce(&SegmentState) -> T) -> T {
        at(&self.state.read())
    }

    /// Changes its state.
    pub fn update<T>(&self, change: impl FnOnce(&mut SegmentState) -> T) -> T {
        change(&mut self.state.write())
    }

    /// Where its file lies now.
    pub fn path(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.with_state(|state| state.location), self.first)
    }

    /// Opens its file, wherever it lies; it may be moved to `acked/` at any moment.
    pub fn open(&self, fs: &dyn Fs, dir: &Path) -> io::Result<Arc<dyn File>> {
        match fs.open(&segment_path(dir, SegmentLocation::Pending, self.first), OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs.open(&segment_path(dir, SegmentLocation::Acked, self.first), OpenMode::Read)
            }
            opened => opened,
        }
    }

    /// Bytes a record of `payload` bytes takes in it.
    pub fn frame_len(&self, payload: usize) -> u64 {
        frame::frame_len(payload + self.access.overhead()) as u64
    }

    /// A scanner of its flushed frames.
    pub fn scanner(&self, fs: &dyn Fs, dir: &Path) -> io::Result<Scanner> {
        Ok(Scanner::new(self.open(fs, dir)?, self.seed.clone(), self.flushed().1))
    }

    /// An offset at or before the record `lsn`, with the number of the record there.
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

/// Where the file of a segment lies.
pub fn segment_path(dir: &Path, place: SegmentLocation, first: Lsn) -> PathBuf {
    dir.join(place.dir()).join(segment_header::segment_name(first))
}

/// All segments, by first LSN.
#[derive(Default)]
pub struct Segments(RwLock<BTreeMap<Lsn, Arc<Segment>>>);

impl Segments {
    /// Adds one.
    pub fn insert(&self, segment: Arc<Segment>) {
        self.0.write().insert(segment.first, segment);
    }

    /// Forgets one.
    pub fn remove(&self, first: Lsn) {
        self.0.write().remove(&first);
    }

    /// The one that holds `lsn`, or that will when it is flushed; `None` when it is no longer kept.
    pub fn containing(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let all = self.0.read();
        let (_, segment) = all.range(..=lsn).next_back()?;
        segment.with_state(|state| !state.sealed || lsn < state.next).then(|| Arc::clone(segment))
    }

    /// The first one that begins at or after `lsn`.
    pub fn first_from(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let all = self.0.read();
        all.range(lsn..).next().map(|(_, segment)| Arc::clone(segment))
    }

    /// How many numbers from `first_from` up to `to` lie in one of them.
    pub fn count_retained(&self, from: Lsn, to: Lsn) -> u64 {
        let all = self.0.read();
        let before = all.range(..to).rev().map(|(first, segment)| (*first, segment.flushed().0));
        let overlapping = before.take_while(|(_, next)| *next > from);
        overlapping.map(|(first, next)| next.min(to).0.saturating_sub(first.max(from).0)).sum()
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().values().cloned().collect()
    }
}
