//! Scans the log's directory for segments: their names, headers and footers.

use std::io;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::encryption::{Keys, PayloadAccess, SlotError, key_slots};
use super::event::{Finding, FindingKind};
use super::footer::Footer;
use super::frame::ChecksumSeed;
use super::fs::{Fs, OpenMode};
use super::open_error::OpenError;
use super::segment::{SegmentLocation, segment_path};
use super::segment_header::{
    HEADER_LEN, HeaderError, SegmentHeader, SegmentSeal, parse_segment_name, segment_name,
};
use super::{delivery_index, fs, preallocated_segment, quarantine, salvage};
use crate::failpoint::Failpoint;
use crate::units::Lsn;

/// A segment found by the scan.
pub struct ScannedSegment {
    /// Directory of the segment.
    pub place: SegmentLocation,
    /// Header of the segment.
    pub header: SegmentHeader,
    /// How its payloads are read.
    pub access: PayloadAccess,
    /// Footer; `None` if the segment was open, or its footer is damaged.
    pub footer: Option<Footer>,
    /// Size of the file in bytes.
    pub file_len: u64,
}

impl ScannedSegment {
    /// The seal according to the segment's own footer, else according to its successor's header.
    pub fn seal(&self, successor: SegmentSeal) -> SegmentSeal {
        let first = self.header.first;
        match &self.footer {
            Some(footer) => {
                SegmentSeal { first, next: footer.next, length: footer.length, chain: footer.chain }
            }
            None if successor.first == first => successor,
            None => SegmentSeal { first, next: first, length: self.file_len.max(HEADER_LEN), chain: 0 },
        }
    }

    /// Describes what is wrong with the seal, if anything: a damaged footer, or a different seal in the successor's
    /// header.
    pub fn seal_mismatch(&self, successor: SegmentSeal) -> Option<&'static str> {
        let seal = self.seal(successor);
        match &self.footer {
            None => Some("the segment's footer is damaged: its records are read as far as possible"),
            Some(_) if successor.first == seal.first && successor != seal => {
                Some("the segment's footer and the next segment's header disagree on how it ended")
            }
            Some(_) => None,
        }
    }
}

/// First and last record between `expected` and `first` that are in no segment and were not delivered.
pub fn missing(checkpoint: Option<&Checkpoint>, expected: Lsn, first: Lsn) -> Option<(Lsn, Lsn)> {
    match checkpoint {
        Some(checkpoint) => checkpoint.undone_bounds(expected..first),
        None => (expected < first).then(|| (expected, Lsn(first.0 - 1))),
    }
}

/// The segments of a log after a scan.
pub struct LogSegments {
    /// The segments of this log, oldest first.
    pub segments: Vec<ScannedSegment>,
    /// Segments with an unreadable header, oldest first.
    pub headerless: Vec<UnusableSegment>,
}

impl LogSegments {
    /// The first LSN of the log, if no checkpoint contains it and the header of the oldest segment is unreadable.
    pub fn oldest_headerless(&self) -> Option<Lsn> {
        oldest_headerless(&self.headerless)
    }
}

/// See [`LogSegments::oldest_headerless`]. Segments in `acked/` do not count, because they were delivered.
pub fn oldest_headerless(unusable: &[UnusableSegment]) -> Option<Lsn> {
    let undelivered =
        |one: &&UnusableSegment| one.kind == FindingKind::Damaged && one.place == SegmentLocation::Pending;
    unusable.iter().find(undelivered).map(|one| one.first)
}

/// The content of `pending/` and `acked/`, unchanged.
pub struct DirectoryScan {
    /// The segments of this log, oldest first.
    pub segments: Vec<ScannedSegment>,
    /// Segments that cannot be used, oldest first.
    pub unusable: Vec<UnusableSegment>,
    /// Segments whose key was destroyed: they were being deleted when the process ended.
    pub shredded: Vec<(SegmentLocation, Lsn)>,
}

/// Result for one segment file.
enum ScanResult {
    Segment(Box<ScannedSegment>),
    Unusable(UnusableSegment),
    Shredded,
    /// The file was deleted or moved meanwhile.
    Missing,
}

/// A segment that cannot be used.
#[derive(Clone)]
pub struct UnusableSegment {
    /// Directory of the segment.
    pub place: SegmentLocation,
    /// First LSN, according to its name.
    pub first: Lsn,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Kind of the problem.
    pub kind: FindingKind,
    /// Description of the problem.
    pub detail: String,
}

impl UnusableSegment {
    /// The finding for the operator.
    pub fn finding(&self) -> Finding {
        let (segment, detail) = (segment_name(self.first), self.detail.clone());
        Finding { segment, offset: 0, kind: self.kind, detail }
    }
}

/// Scans `pending/` and `acked/`, removes leftovers of an interrupted start or rotation, and moves segments of other
/// logs to quarantine.
///
/// Segments with an unreadable header stay in place until their records are listed and their numbers are skipped
/// durably. If they were moved first and the start then crashed, the next start would not know of them.
///
/// `known` is the log id of the checkpoint. If any segment has this id, it decides which segments belong to this log.
pub fn scan_and_clean(
    fs: &dyn Fs,
    dir: &Path,
    known: Option<[u8; 16]>,
    keys: &Keys,
    findings: &mut Vec<Finding>,
) -> Result<LogSegments, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let DirectoryScan { segments, unusable, shredded } = scan_read_only(fs, dir, known, keys, findings)?;
    remove_if_exists(fs, &dir.join(preallocated_segment::FILE)).map_err(failed)?;
    for (place, first) in shredded {
        remove_if_exists(fs, &segment_path(dir, place, first)).map_err(failed)?;
        remove_if_exists(fs, &dir.join(delivery_index::DIR).join(segment_name(first))).map_err(failed)?;
    }
    let mut headerless = Vec::new();
    for unusable in unusable {
        findings.push(unusable.finding());
        match unusable.kind {
            FindingKind::Damaged if !Failpoint::HeadlessMovedFirst.is_set() => headerless.push(unusable),
            _ => quarantine_segment(fs, dir, &unusable).map_err(failed)?,
        }
    }
    Ok(LogSegments { segments, headerless })
}

/// Scans `pending/` and `acked/` and changes nothing. Next to a running daemon, a segment may move to `acked/` and be
/// deleted there during the scan. `pending/` is scanned first, so that no segment is missed.
pub fn scan_read_only(
    fs: &dyn Fs,
    dir: &Path,
    known: Option<[u8; 16]>,
    keys: &Keys,
    findings: &mut Vec<Finding>,
) -> Result<DirectoryScan, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let mut seen = DirectoryScan { segments: Vec::new(), unusable: Vec::new(), shredded: Vec::new() };
    for place in [SegmentLocation::Pending, SegmentLocation::Acked] {
        let listed = match fs.list(&dir.join(place.dir())) {
            // A start has refused this already. A read-only scan continues without the directory.
            Err(e) if fs::is_not_a_file(&e) => Vec::new(),
            listed => listed.map_err(failed)?,
        };
        for name in listed {
            let Some(first) = parse_segment_name(&name) else {
                let detail = "not a segment of forebay; left unchanged".to_owned();
                findings.push(Finding { segment: name, offset: 0, kind: FindingKind::Unknown, detail });
                continue;
            };
            match scan_segment(fs, dir, place, first, keys)? {
                ScanResult::Segment(found) => seen.segments.push(*found),
                ScanResult::Unusable(unusable) => seen.unusable.push(unusable),
                ScanResult::Shredded => seen.shredded.push((place, first)),
                ScanResult::Missing => {}
            }
        }
    }
    remove_duplicates(fs, dir, &mut seen.segments).map_err(failed)?;
    separate_foreign(known, &mut seen);
    seen.unusable.sort_by_key(|unusable| unusable.first);
    Ok(seen)
}

/// Removes duplicates. A segment found twice was moved during the scan and is in `acked/` now. Otherwise a crash
/// interrupted the move, or one file is a copy; then the segment in `pending/` is the valid one.
fn remove_duplicates(fs: &dyn Fs, dir: &Path, segments: &mut Vec<ScannedSegment>) -> io::Result<()> {
    segments.sort_by_key(|found| (found.header.first, found.place == SegmentLocation::Acked));
    let mut kept: Vec<ScannedSegment> = Vec::with_capacity(segments.len());
    for found in std::mem::take(segments) {
        let first = found.header.first;
        match kept.last_mut().filter(|last| last.header.first == first) {
            None => kept.push(found),
            Some(last) => {
                match fs.open(&segment_path(dir, SegmentLocation::Pending, first), OpenMode::Read) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::NotFound => *last = found,
                    Err(e) => return Err(e),
                }
            }
        }
    }
    *segments = kept;
    Ok(())
}

/// Separates segments of other logs. The checkpoint decides which log this is, else the newest segment.
fn separate_foreign(known: Option<[u8; 16]>, seen: &mut DirectoryScan) {
    let of = |found: &ScannedSegment| found.header.identity.log_id;
    let known = known.filter(|known| seen.segments.iter().any(|found| of(found) == *known));
    let Some(log_id) = known.or_else(|| seen.segments.last().map(of)) else { return };
    let (segments, foreign): (Vec<_>, Vec<_>) = std::mem::take(&mut seen.segments)
        .into_iter()
        .partition(|found| found.header.identity.log_id == log_id);
    seen.segments = segments;
    seen.unusable.extend(foreign.into_iter().map(|found| UnusableSegment {
        place: found.place,
        first: found.header.first,
        bytes: found.file_len,
        kind: FindingKind::Foreign,
        detail: "a segment of another log".to_owned(),
    }));
}

/// Reads header and footer of one segment.
fn scan_segment(
    fs: &dyn Fs,
    dir: &Path,
    place: SegmentLocation,
    first: Lsn,
    keys: &Keys,
) -> Result<ScanResult, OpenError> {
    let path = segment_path(dir, place, first);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let file = match fs.open(&path, OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound || fs::is_not_a_file(&e) => {
            return Ok(ScanResult::Missing);
        }
        opened => opened.map_err(failed)?,
    };
    let bytes = file.size().map_err(failed)?;
    let mut block = vec![0; HEADER_LEN as usize];
    let read = salvage::read_checked(fs, dir, &*file, &mut block, 0).map_err(failed)?;
    let unreadable = read.unreadable.detail(&segment_name(first));
    let detail = match SegmentHeader::decode(&block[..read.len]) {
        Ok(mut header) if header.first == first => match segment_access(&block, &mut header, keys) {
            Ok(access) => {
                let footer = Footer::find(&*file, &ChecksumSeed::new(&header.salt)).map_err(failed)?;
                let footer = footer.filter(|footer| footer.is_sound(first) && footer.length <= bytes);
                return Ok(ScanResult::Segment(Box::new(ScannedSegment {
                    place,
                    header,
                    access,
                    footer,
                    file_len: bytes,
                })));
            }
            Err(KeyLost::Shredded) => return Ok(ScanResult::Shredded),
            Err(KeyLost::Damaged) => "both copies of the segment's key are damaged".to_owned(),
        },
        Ok(header) => format!("its header says that its first record is {}", header.first),
        Err(error @ HeaderError::Version(..)) => {
            return Err(OpenError::Version { path, detail: error.to_string() });
        }
        Err(error) => match unreadable {
            Some(unreadable) => format!("{error}: {unreadable}"),
            None => error.to_string(),
        },
    };
    Ok(ScanResult::Unusable(UnusableSegment { place, first, bytes, kind: FindingKind::Damaged, detail }))
}

/// Why the payloads of a segment cannot be read with any key.
pub enum KeyLost {
    /// The key was destroyed.
    Shredded,
    /// Both copies of the key are damaged.
    Damaged,
}

/// How the payloads of the segment with this first block are read. With its key, also sets the header's secret.
pub fn segment_access(
    block: &[u8],
    header: &mut SegmentHeader,
    keys: &Keys,
) -> Result<PayloadAccess, KeyLost> {
    if !header.encrypted {
        return Ok(PayloadAccess::Plain);
    }
    match key_slots::open(block, keys) {
        Ok(wrapped) => {
            header.identity.secret = wrapped.secret();
            Ok(PayloadAccess::from_secrets(&wrapped))
        }
        Err(SlotError::MissingKey(ids)) => Ok(PayloadAccess::Locked(ids)),
        Err(SlotError::Shredded) => Err(KeyLost::Shredded),
        Err(SlotError::Damaged) => Err(KeyLost::Damaged),
    }
}

/// Moves a segment to quarantine, durably.
pub fn quarantine_segment(fs: &dyn Fs, dir: &Path, unusable: &UnusableSegment) -> io::Result<()> {
    let &UnusableSegment { place, first, .. } = unusable;
    let to = dir.join(quarantine::DIR).join(segment_name(first));
    fs.rename(&segment_path(dir, place, first), &to)?;
    fs.sync_dir(&dir.join(quarantine::DIR))?;
    fs.sync_dir(&dir.join(place.dir()))
}

fn remove_if_exists(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
