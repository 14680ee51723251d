//! Inspects a log, also while the daemon writes to it, and changes nothing: it takes no lock, creates no file, and
//! opens every file read-only.
//!
//! The result is a snapshot. The checkpoint is up to one `checkpoint_interval` old, and the last records may be written
//! and not flushed yet.

mod backlog;
mod follower;
mod frames;
mod records;
mod segment;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, LoadError};
use super::dead_letters::DeadLetterStore;
use super::directory_scan::DirectoryScan;
use super::encryption::{KeyId, Keys};
use super::event::{Finding, FindingKind};
use super::fs::Fs;
use super::open_error::OpenError;
use super::segment::SegmentLocation;
use super::segment_header::{SegmentSeal, parse_segment_name, segment_name};
use super::types::Identity;
use super::{checkpoint, dead_letters, directory_scan, fs, layout, lock, quarantine, undelivered};
use crate::units::Lsn;

pub use super::tail_recovery::LostRange;
pub use backlog::Backlog;
pub use follower::Follower;
pub use records::{Records, StoredRecord};
pub use segment::SegmentInfo;
pub use verify::{RecordCheck, VerifyReport};

/// Returns the label under which a record is counted, from its payload (as `Options::label`).
pub type Label = fn(&[u8]) -> Option<String>;

/// Maximum number of scans. Next to a running daemon, a segment may be delivered and deleted between listing and
/// opening it, within about a millisecond. A gap that all scans see is real.
const MAX_ATTEMPTS: usize = 10;

/// A log's directory.
pub struct LogDirectory {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    keys: Keys,
}

/// A snapshot of the directory.
pub struct LogView {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    keys: Keys,
    label: Label,
    /// Whether a daemon, or another writer, holds the log's lock.
    pub live: bool,
    /// The last checkpoint, if it exists and can be read.
    pub checkpoint: Option<Checkpoint>,
    /// The segments of the log, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// The dead-letter store, if it exists and can be read.
    pub dead_letters: Option<DeadLetterStore>,
    dead_letter_keys: Vec<KeyId>,
    /// Findings from names, headers, footers and the end of the log.
    pub findings: Vec<Finding>,
}

/// A complete segment in quarantine.
pub struct QuarantinedSegment {
    /// File name.
    pub name: String,
    /// Its first record, according to its name.
    pub first: Lsn,
    /// Size of the file in bytes.
    pub size: u64,
}

impl LogDirectory {
    /// The log in `path`. Fails if there is none.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let directory = Self { fs: Arc::new(fs::RealFs), path: path.to_owned(), keys: Keys::default() };
        let there = directory.fs.list(&path.join(SegmentLocation::Pending.dir()));
        match there {
            Ok(_) => Ok(directory),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(OpenError::Absent { path: path.to_owned() }),
            Err(source) => Err(OpenError::Directory { path: path.to_owned(), source }),
        }
    }

    /// The same, on another file system.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_fs(fs: Arc<dyn Fs>, path: &Path, keys: Keys) -> Self {
        Self { fs, path: path.to_owned(), keys }
    }

    /// The same, with these keys. Encrypted data that none of them opens is not shown.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// Takes a snapshot.
    pub fn snapshot(&self, label: Label) -> Result<LogView, OpenError> {
        let mut view = self.snapshot_once(label)?;
        for _ in 1..MAX_ATTEMPTS {
            // A segment that is moved between two steps of a scan seems to be missing, or in a wrong directory.
            let moved = |kind| matches!(kind, FindingKind::Missing | FindingKind::Misplaced);
            if !(view.live && view.findings.iter().any(|finding| moved(finding.kind))) {
                break;
            }
            view = self.snapshot_once(label)?;
        }
        Ok(view)
    }

    /// The segments in quarantine: their header is unreadable, or they belong to another log.
    pub fn quarantined_segments(&self) -> io::Result<Vec<QuarantinedSegment>> {
        let dir = self.path.join(quarantine::DIR);
        let mut found = Vec::new();
        let names = match self.fs.list(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        for first in names.iter().filter_map(|name| parse_segment_name(name)) {
            let name = segment_name(first);
            let size = self.fs.open(&dir.join(&name), fs::OpenMode::Read)?.size()?;
            found.push(QuarantinedSegment { name, first, size });
        }
        found.sort_by_key(|quarantined| quarantined.first);
        Ok(found)
    }

    /// Takes a snapshot in one scan. The checkpoint is read before the segments, so they contain its durable records.
    fn snapshot_once(&self, label: Label) -> Result<LogView, OpenError> {
        let failed = |source| OpenError::Io { path: self.path.clone(), source };
        // If the lock cannot be checked, assume a writer: its unfinished writes must not be reported as torn.
        let live = lock::is_held(&self.path).unwrap_or(true);
        let mut view = LogView {
            fs: Arc::clone(&self.fs),
            path: self.path.clone(),
            keys: self.keys.clone(),
            label,
            live,
            checkpoint: None,
            segments: Vec::new(),
            dead_letters: None,
            dead_letter_keys: Vec::new(),
            findings: Vec::new(),
        };
        for misplaced in layout::misplaced_files(&self.path)? {
            view.add_finding(misplaced.name, 0, FindingKind::Unknown, misplaced.detail);
        }
        let loaded = Checkpoint::load(&*self.fs, &self.path);
        let known = loaded.as_ref().ok().map(|checkpoint| checkpoint.log_id);
        let seen =
            directory_scan::scan_read_only(&*self.fs, &self.path, known, &self.keys, &mut view.findings)?;
        view.read_checkpoint(loaded, &seen)?;
        view.read_segments(seen)?;
        view.read_dead_letters().map_err(failed)?;
        Ok(view)
    }
}

impl LogView {
    /// Identity of the log; `None` if it has no segment, or no key is given that reveals its secret.
    pub fn identity(&self) -> Option<&Identity> {
        let newest = self.segments.iter().rev().find(|segment| segment.locked().is_empty());
        newest.map(|segment| &segment.header.identity)
    }

    /// Ids of the missing master keys. Some of them are needed to read the rest of the log.
    pub fn missing_keys(&self) -> Vec<KeyId> {
        let mut needs: Vec<_> = self.segments.iter().flat_map(|segment| segment.locked()).copied().collect();
        needs.extend(&self.dead_letter_keys);
        needs.sort();
        needs.dedup();
        needs
    }

    /// The LSN of the next record, as far as this view shows.
    pub fn next(&self) -> Lsn {
        let durable_end = self.checkpoint.as_ref().map_or(Lsn(1), |checkpoint| checkpoint.durable.next);
        self.segments.last().map_or(durable_end, SegmentInfo::next)
    }

    /// The segment that holds `lsn`.
    pub fn segment_containing(&self, lsn: Lsn) -> Option<&SegmentInfo> {
        let after = self.segments.partition_point(|segment| segment.first() <= lsn);
        self.segments.get(after.checked_sub(1)?).filter(|segment| lsn < segment.next())
    }

    fn read_checkpoint(
        &mut self,
        loaded: Result<Checkpoint, LoadError>,
        seen: &DirectoryScan,
    ) -> Result<(), OpenError> {
        let log_id = seen.segments.last().map(|newest| newest.header.identity.log_id);
        let detail = match loaded {
            Ok(checkpoint) if log_id.is_none_or(|log_id| log_id == checkpoint.log_id) => {
                self.checkpoint = Some(checkpoint);
                return Ok(());
            }
            Ok(_) => "it belongs to another log".to_owned(),
            Err(LoadError::Io(source)) if fs::is_not_a_file(&source) => source.to_string(),
            Err(LoadError::Io(source)) => {
                return Err(OpenError::Io { path: self.path.join(checkpoint::FILE), source });
            }
            Err(LoadError::Missing) if seen.segments.is_empty() => return Ok(()),
            Err(error) => format!("{error}: the next start delivers everything in pending/ again"),
        };
        self.add_finding(checkpoint::FILE.to_owned(), 0, FindingKind::Checkpoint, detail);
        Ok(())
    }

    fn read_segments(&mut self, seen: DirectoryScan) -> Result<(), OpenError> {
        let mut successors: Vec<_> =
            seen.segments.iter().skip(1).map(|next| next.header.predecessor).collect();
        successors.push(SegmentSeal::default());
        let count = seen.segments.len();
        let watermark = self.checkpoint.as_ref().map(|checkpoint| checkpoint.watermark);
        let mut expected = watermark.or_else(|| directory_scan::oldest_headerless(&seen.unusable));
        for (index, (found, successor)) in seen.segments.into_iter().zip(successors).enumerate() {
            let first = found.header.first;
            let gap =
                expected.and_then(|next| directory_scan::missing(self.checkpoint.as_ref(), next, first));
            if let Some((from, to)) = gap {
                let detail = format!("records {from} to {to} are in no segment");
                self.add_finding(segment_name(from), 0, FindingKind::Missing, detail);
            }
            let undelivered =
                self.checkpoint.as_ref().and_then(|known| undelivered::finding(known, &found, successor));
            self.findings.extend(undelivered);
            let is_open = index + 1 == count && found.footer.is_none();
            // The log never leaves a segment without a footer in `acked/`.
            let is_writers = is_open && found.place == SegmentLocation::Pending;
            if let Some(detail) = found.seal_mismatch(successor).filter(|_| !is_writers) {
                let offset = found.seal(successor).length;
                self.add_finding(segment_name(first), offset, FindingKind::Damaged, detail.to_owned());
            }
            let segment = match is_open {
                true => self.open_segment(found)?,
                false => Some(SegmentInfo::closed(found, successor)),
            };
            let Some(segment) = segment else { continue };
            expected = Some(segment.next());
            self.segments.push(segment);
        }
        let headerless = seen.unusable.iter().any(|unusable| unusable.kind == FindingKind::Damaged);
        self.findings.extend(seen.unusable.iter().map(directory_scan::UnusableSegment::finding));
        if !headerless {
            self.check_durable_end();
        }
        Ok(())
    }

    /// Reads the open segment to its current end; `None` if it was deleted meanwhile.
    fn open_segment(
        &mut self,
        found: directory_scan::ScannedSegment,
    ) -> Result<Option<SegmentInfo>, OpenError> {
        let durable = self.checkpoint.as_ref().map(|checkpoint| checkpoint.durable).unwrap_or_default();
        let path = self.path.join(found.place.dir()).join(segment_name(found.header.first));
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let opened = segment::open(&*self.fs, &self.path, found.header.first).map_err(failed)?;
        let Some(file) = opened else { return Ok(None) };
        // Rarely called, so the store is read each time. Its own problems are reported later.
        let listed = |lsn| {
            let (store, _) =
                DeadLetterStore::open_read_only(Arc::clone(&self.fs), &self.path, &self.keys).ok()?;
            store?.damage_end(lsn)
        };
        let (header, access) = (&found.header, &found.access);
        let tail = super::tail_recovery::examine(file, header, access, durable, &listed, self.label)
            .map_err(failed)?;
        self.findings.extend(tail.findings(self.live));
        Ok(Some(SegmentInfo::open(found, tail.footer().clone())))
    }

    /// Reports a log that ends before the durable position of its checkpoint: records were lost.
    fn check_durable_end(&mut self) {
        let Some(durable) = self.checkpoint.as_ref().map(|checkpoint| checkpoint.durable) else { return };
        let end = self.segments.last().map_or(Lsn(1), SegmentInfo::next);
        if durable.next > end {
            let detail = format!(
                "the checkpoint covers records up to {}, the log ends at {}: this is an older copy, or flushed \
                 data was lost",
                durable.next.0 - 1,
                end.0 - 1
            );
            self.add_finding(segment_name(durable.segment), durable.length, FindingKind::Missing, detail);
        }
    }

    fn read_dead_letters(&mut self) -> io::Result<()> {
        let opened = DeadLetterStore::open_read_only(Arc::clone(&self.fs), &self.path, &self.keys);
        let (store, read_error) = match opened {
            // Reported as a finding already.
            Err(e) if fs::is_not_a_file(&e) => return Ok(()),
            opened => opened?,
        };
        self.dead_letter_keys =
            dead_letters::missing_keys(&*self.fs, &self.path, &self.keys)?.unwrap_or_default();
        self.dead_letters = store;
        if let Some(detail) = read_error {
            self.add_finding(dead_letters::RELATIVE_PATH.to_owned(), 0, FindingKind::Damaged, detail);
        }
        Ok(())
    }

    fn add_finding(&mut self, segment: String, offset: u64, kind: FindingKind, detail: String) {
        self.findings.push(Finding { segment, offset, kind, detail });
    }
}
