//! One segment as seen from outside.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::directory_scan::ScannedSegment;
use super::super::encryption::{KeyId, PayloadAccess};
use super::super::footer::{Footer, INDEX_STRIDE};
use super::super::frame::ChecksumSeed;
use super::super::fs::{File, Fs, OpenMode};
use super::super::segment::{SegmentLocation, segment_path};
use super::super::segment_header::{HEADER_LEN, SegmentHeader, SegmentSeal, segment_name};
use crate::units::{Lsn, Timestamp};

/// One segment.
pub struct SegmentInfo {
    /// Where it lies.
    pub place: SegmentLocation,
    /// Bytes of its file, room for records to come included.
    pub size: u64,
    /// Whether it has its footer: nothing will be added.
    pub sealed: bool,
    pub(super) access: PayloadAccess,
    pub(super) header: SegmentHeader,
    /// Its own, or what it would be if it were sealed now.
    pub(super) footer: Footer,
}

impl SegmentInfo {
    pub(super) fn closed(found: ScannedSegment, successor: SegmentSeal) -> Self {
        let seal = found.seal(successor);
        let sealed = found.footer.is_some();
        let footer = found.footer.unwrap_or_else(|| Footer {
            next: seal.next,
            records: seal.next.0 - seal.first.0,
            length: seal.length,
            first_at: found.header.created,
            last_at: found.header.created,
            ..Footer::default()
        });
        let ScannedSegment { place, header, access, file_len: size, .. } = found;
        Self { place, size, sealed, access, header, footer }
    }

    pub(super) fn open(found: ScannedSegment, footer: Footer) -> Self {
        let ScannedSegment { place, header, access, file_len: size, .. } = found;
        Self { place, size, sealed: false, access, header, footer }
    }

    /// Whether its payloads are encrypted.
    pub fn encrypted(&self) -> bool {
        self.header.encrypted
    }

    /// The master keys of which one would open it; empty when it is open.
    pub fn locked(&self) -> &[KeyId] {
        match &self.access {
            PayloadAccess::Locked(needs) => needs,
            PayloadAccess::Plain | PayloadAccess::Key(_) => &[],
        }
    }

    /// Its file's name.
    pub fn name(&self) -> String {
        segment_name(self.header.first)
    }

    /// Its first record.
    pub fn first(&self) -> Lsn {
        self.header.first
    }

    /// The number after its last record.
    pub fn next(&self) -> Lsn {
        self.footer.next
    }

    /// Records in it.
    pub fn records(&self) -> u64 {
        self.footer.records
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> u64 {
        self.footer.length.saturating_sub(HEADER_LEN)
    }

    /// Bytes its file was filled with before it was used.
    pub fn capacity(&self) -> u64 {
        self.header.capacity
    }

    /// When its first and its last record were accepted; `None` while it has none.
    pub fn accepted(&self) -> Option<(Timestamp, Timestamp)> {
        (self.footer.records > 0).then_some((self.footer.first_at, self.footer.last_at))
    }

    /// Records per label. Empty when its footer cannot be read.
    pub fn labels(&self) -> &BTreeMap<String, u64> {
        &self.footer.labels
    }

    pub(super) fn seed(&self) -> ChecksumSeed {
        ChecksumSeed::new(&self.header.salt)
    }

    /// An offset at or before the record `lsn`, with the number of the record there.
    pub(super) fn nearest(&self, lsn: Lsn) -> (u64, Lsn) {
        let slot = lsn.0.saturating_sub(self.first().0) / INDEX_STRIDE;
        match self.footer.index.get(slot as usize) {
            Some(&offset) => (offset.into(), self.first().plus(slot * INDEX_STRIDE)),
            None => (HEADER_LEN, self.first()),
        }
    }
}

/// Opens a segment wherever it lies now; `None` when it was let go of.
pub(super) fn open(fs: &dyn Fs, dir: &Path, first: Lsn) -> io::Result<Option<Arc<dyn File>>> {
    for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
        match fs.open(&segment_path(dir, place, first), OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(Some),
        }
    }
    Ok(None)
}
