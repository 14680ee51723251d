//! One segment in a snapshot.

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
    /// Directory of the segment.
    pub place: SegmentLocation,
    /// Size of the file in bytes, including the space for later records.
    pub size: u64,
    /// Whether it has its footer, so that no record will be added.
    pub sealed: bool,
    pub(super) access: PayloadAccess,
    pub(super) header: SegmentHeader,
    /// The footer, or what it would be if the segment were sealed now.
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

    /// Whether the payloads are encrypted.
    pub fn encrypted(&self) -> bool {
        self.header.encrypted
    }

    /// Ids of the master keys that would open the segment; empty if it is readable.
    pub fn locked(&self) -> &[KeyId] {
        match &self.access {
            PayloadAccess::Locked(needs) => needs,
            PayloadAccess::Plain | PayloadAccess::Key(_) => &[],
        }
    }

    /// File name.
    pub fn name(&self) -> String {
        segment_name(self.header.first)
    }

    /// LSN of the first record.
    pub fn first(&self) -> Lsn {
        self.header.first
    }

    /// The number after the last record.
    pub fn next(&self) -> Lsn {
        self.footer.next
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.footer.records
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> u64 {
        self.footer.length.saturating_sub(HEADER_LEN)
    }

    /// Preallocated size in bytes.
    pub fn capacity(&self) -> u64 {
        self.header.capacity
    }

    /// Acceptance times of the first and the last record; `None` if there are no records.
    pub fn accepted(&self) -> Option<(Timestamp, Timestamp)> {
        (self.footer.records > 0).then_some((self.footer.first_at, self.footer.last_at))
    }

    /// Number of records per label. Empty if the footer cannot be read.
    pub fn labels(&self) -> &BTreeMap<String, u64> {
        &self.footer.labels
    }

    pub(super) fn seed(&self) -> ChecksumSeed {
        ChecksumSeed::new(&self.header.salt)
    }

    /// The last indexed offset at or before the record `lsn`, with the LSN of the record there.
    pub(super) fn nearest(&self, lsn: Lsn) -> (u64, Lsn) {
        let slot = lsn.0.saturating_sub(self.first().0) / INDEX_STRIDE;
        match self.footer.index.get(slot as usize) {
            Some(&offset) => (offset.into(), self.first().plus(slot * INDEX_STRIDE)),
            None => (HEADER_LEN, self.first()),
        }
    }
}

/// Opens a segment in its current directory; `None` if it was deleted.
pub(super) fn open(fs: &dyn Fs, dir: &Path, first: Lsn) -> io::Result<Option<Arc<dyn File>>> {
    for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
        match fs.open(&segment_path(dir, place, first), OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(Some),
        }
    }
    Ok(None)
}
