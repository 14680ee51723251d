//! Opens a log: scans it, repairs it, and prepares it for new records. Reads at most one segment completely.
//!
//! A start may crash at any point, and the next start has the same result. Each step either leaves the files that the
//! next start reads unchanged, or replaces one of them as a whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ack_tracker::AckTracker;
use super::adopt::SegmentAdoption;
use super::checkpoint::{Checkpoint, LoadError};
use super::dead_letters::DeadLetterStore;
use super::directory_scan::{LogSegments, ScannedSegment};
use super::encryption::PayloadAccess;
use super::event::{Finding, FindingKind};
use super::fs::{Fs, OpenMode};
use super::lock::Lock;
use super::log::{Log, RecoveredLog};
use super::open_error::OpenError;
use super::options::Options;
use super::segment::{SegmentLocation, Segments};
use super::segment_header::{HEADER_LEN, SegmentSeal};
use super::transactions::Transactions;
use super::writer::Writer;
use super::{
    delivery_index, directory_scan, fs, key_check, layout, preallocated_segment, quarantine, undelivered,
};
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// Size in bytes of the first segment of a start. Preallocating it takes about 10 ms. It is large enough until the next
/// segment is ready.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// The result of a start.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Problems that were found.
    pub findings: Vec<Finding>,
    /// The LSN of the next record.
    pub next: Lsn,
    /// Number of undelivered records.
    pub backlog: u64,
    /// Number of segments of earlier starts whose payloads are not encrypted.
    pub plain_segments: u64,
}

/// An open log, ready for new records.
pub struct OpenedLog {
    /// Appends records.
    pub writer: Writer,
    /// Reads records, and knows their state.
    pub log: Arc<Log>,
    /// The result of the start.
    pub recovery: RecoveryReport,
}

/// Acquires the lock of the log in `dir`, which is created if missing, and opens the log.
pub fn open_locked(dir: &Path, options: &Options, now: Timestamp) -> Result<(Lock, OpenedLog), OpenError> {
    let fs = real_fs();
    let unusable = |source| OpenError::Directory { path: dir.to_owned(), source };
    // These checks come first, because a refused start must not change anything, not even the process id in `LOCK`.
    layout::check(dir)?;
    key_check::check(&*fs, dir, &options.keys)?;
    let made: Vec<_> = dir
        .ancestors()
        .skip(1)
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    fs.create_dir_all(dir).map_err(unusable)?;
    for entry in std::iter::once(dir).chain(made) {
        fs.sync_dir(fs::parent(entry)).map_err(unusable)?;
    }
    let lock = Lock::acquire(dir)?;
    Ok((lock, open(fs, dir, options, now)?))
}

/// The operating system's file system. In a build for tests, failpoints inject faults.
fn real_fs() -> Arc<dyn Fs> {
    let fs: Arc<dyn Fs> = Arc::new(fs::RealFs);
    #[cfg(feature = "planted-faults")]
    let fs = super::faulty_fs::wrap(fs);
    fs
}

/// Opens the log in `dir`. The caller holds its lock.
pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: &Options, now: Timestamp) -> Result<OpenedLog, OpenError> {
    key_check::check(&*fs, dir, &options.keys)?;
    make_directories(&*fs, dir).map_err(|source| OpenError::Directory { path: dir.to_owned(), source })?;
    let mut recovery = RecoveryReport::default();
    let contents = read_contents(&fs, dir, options, &mut recovery.findings)?;
    recovery.plain_segments = contents.plain_segments();
    let headerless = contents.scan.headerless.clone();
    let (parts, predecessor) = rebuild_state(fs, dir, options, contents, &mut recovery.findings, now)?;
    recovery.next = parts.end;
    recovery.backlog = parts.acks.backlog();
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let writer = begin_segment(parts, options, predecessor, now).map_err(failed)?;
    let log = Arc::clone(writer.log());
    // The new segment's header is durable, so no start assigns the LSNs of these segments again. Only now may their
    // files be moved.
    for segment in &headerless {
        directory_scan::quarantine_segment(&*log.fs, dir, segment).map_err(failed)?;
    }
    Ok(OpenedLog { writer, log, recovery })
}

/// The content of the log's directory.
struct LogContents {
    scan: LogSegments,
    checkpoint: Option<Checkpoint>,
    dead: DeadLetterStore,
}

impl LogContents {
    fn plain_segments(&self) -> u64 {
        self.scan.segments.iter().filter(|found| matches!(found.access, PayloadAccess::Plain)).count() as u64
    }
}

/// Reads the checkpoint, the segments' headers and footers, and the dead letters. Moves segments in `acked/` back that
/// have undelivered records according to the checkpoint.
fn read_contents(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    findings: &mut Vec<Finding>,
) -> Result<LogContents, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let loaded = Checkpoint::load(&**fs, dir);
    let known = loaded.as_ref().ok().map(|checkpoint| checkpoint.log_id);
    let mut scan = directory_scan::scan_and_clean(&**fs, dir, known, &options.keys, findings)?;
    let checkpoint = accept_checkpoint(loaded, dir, &scan, findings)?;
    if let Some(checkpoint) = &checkpoint {
        undelivered::move_back_to_pending(&**fs, dir, checkpoint, &mut scan.segments, findings)
            .map_err(failed)?;
    }
    let (dead, read_error) = DeadLetterStore::open(Arc::clone(fs), dir, &options.keys).map_err(failed)?;
    findings.extend(dead_letter_findings(&dead, read_error));
    Ok(LogContents { scan, checkpoint, dead })
}

/// Takes over the segments, and rebuilds the ack tracker and the transactions. Returns the state of the log, and the
/// summary of the last segment, which the next header stores as its predecessor.
fn rebuild_state(
    fs: Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    contents: LogContents,
    findings: &mut Vec<Finding>,
    now: Timestamp,
) -> Result<(RecoveredLog, SegmentSeal), OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let LogContents { scan, checkpoint, dead } = contents;
    let checkpoint = checkpoint.as_ref();
    let oldest = scan.segments.first().map(|found| found.header.first);
    let tracker = AckTracker::new(first_watermark(checkpoint.filter(|_| !options.redeliver), oldest));
    let segments = Segments::default();
    let mut start = SegmentAdoption { fs, dir, options, checkpoint, dead, segments, tracker, findings, now };
    let identity = start.identity(&scan).map_err(failed)?;
    let incarnations = incarnations(&scan);
    let mut transactions = checkpoint
        .map_or_else(|| Transactions::from_headers(&incarnations), |known| known.transactions.clone());
    let (end, predecessor) = start.adopt_segments(scan)?;
    start.check_durable_end(end)?;
    let end = start.skip_dead_letters(end)?;
    transactions.close(&incarnations, end);
    if !Failpoint::LettersNotMarked.is_set() {
        start.dead.mark_done_in(&mut start.tracker);
    }
    start.tracker.advance();
    let SegmentAdoption { fs, dead, segments, tracker, .. } = start;
    let pending = fs.open_dir(&dir.join(SegmentLocation::Pending.dir())).map_err(failed)?;
    let (keys, observer) = (options.keys.clone(), Arc::clone(&options.observer));
    let dir = dir.to_owned();
    let parts = RecoveredLog {
        fs,
        dir,
        pending,
        identity,
        keys,
        segments,
        acks: tracker,
        end,
        dead_letters: dead,
        observer,
        transactions,
    };
    Ok((parts, predecessor))
}

/// The first LSN of each segment, and the incarnation of the start that wrote it.
fn incarnations(scan: &LogSegments) -> Vec<(Lsn, [u8; 16])> {
    let of = |found: &ScannedSegment| (found.header.first, found.header.identity.incarnation);
    scan.segments.iter().map(of).collect()
}

/// Begins the first segment of this run.
fn begin_segment(
    parts: RecoveredLog,
    options: &Options,
    predecessor: SegmentSeal,
    now: Timestamp,
) -> io::Result<Writer> {
    let end = parts.end;
    let log = Arc::new(Log::new(parts));
    let file = create_first_file(&*log.fs, &log.dir, options)?;
    Writer::begin(log, options.segment_size, file, end, predecessor, now)
}

/// Findings about the dead-letter store.
fn dead_letter_findings(dead: &DeadLetterStore, read_error: Option<String>) -> impl Iterator<Item = Finding> {
    let read_error = read_error.map(|detail| (FindingKind::Damaged, detail));
    let cut = dead.truncation().map(|detail| (FindingKind::TornTail, detail));
    let found = |(kind, detail)| Finding {
        segment: super::dead_letters::RELATIVE_PATH.to_owned(),
        offset: 0,
        kind,
        detail,
    };
    read_error.into_iter().chain(cut).map(found)
}

fn make_directories(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    for name in [
        SegmentLocation::Pending.dir(),
        SegmentLocation::Acked.dir(),
        quarantine::DIR,
        delivery_index::DIR,
        super::dead_letters::DIR,
    ] {
        fs.create_dir_all(&dir.join(name))?;
    }
    fs.sync_dir(dir)
}

fn accept_checkpoint(
    loaded: Result<Checkpoint, LoadError>,
    dir: &Path,
    scan: &LogSegments,
    findings: &mut Vec<Finding>,
) -> Result<Option<Checkpoint>, OpenError> {
    let foreign = |checkpoint: &Checkpoint| {
        scan.segments.last().is_some_and(|newest| newest.header.identity.log_id != checkpoint.log_id)
    };
    let detail = match loaded {
        Ok(checkpoint) if foreign(&checkpoint) => {
            "it belongs to another log: everything in pending/ is delivered again".to_owned()
        }
        Ok(checkpoint) => return Ok(Some(checkpoint)),
        Err(LoadError::Io(source)) => {
            return Err(OpenError::Io { path: dir.join(super::checkpoint::FILE), source });
        }
        Err(LoadError::Missing) if scan.segments.is_empty() => return Ok(None),
        Err(error) => format!("{error}: everything in pending/ is delivered again"),
    };
    let segment = super::checkpoint::FILE.to_owned();
    findings.push(Finding { segment, offset: 0, kind: FindingKind::Checkpoint, detail });
    Ok(None)
}

/// The watermark with which the ack tracker begins: all records below it are done.
pub(super) fn first_watermark(checkpoint: Option<&Checkpoint>, oldest: Option<Lsn>) -> Lsn {
    match (checkpoint, oldest) {
        (Some(checkpoint), _) => checkpoint.watermark,
        (None, Some(oldest)) => oldest,
        (None, None) => Lsn(1),
    }
}

/// Creates the file of the first segment of this run. It is small, because a start must not wait for a whole segment of
/// zeros. If the disk is too full even for that, the daemon starts anyway, so that it can deliver records. The segment
/// then has space for its header only.
fn create_first_file(fs: &dyn Fs, dir: &Path, options: &Options) -> io::Result<Arc<dyn fs::File>> {
    let size = options.segment_size.min(FIRST_SEGMENT_BYTES);
    if let Ok(file) = preallocated_segment::prepare(fs, dir, size, options.reserve_space) {
        return Ok(file);
    }
    let file = fs.open(&dir.join(preallocated_segment::FILE), OpenMode::Create)?;
    file.write_all_at(&[0; HEADER_LEN as usize], 0)?;
    file.sync_all()?;
    Ok(file)
}
