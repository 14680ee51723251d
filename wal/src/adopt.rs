//! Adopts the segments of earlier runs at a start.
//!
//! Each segment is taken over, and the open one is sealed. Missing and damaged records are listed durably. A number
//! that may have been assigned is never assigned again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::ack_tracker::{AckTracker, SegmentAcks};
use super::checkpoint::Checkpoint;
use super::dead_letters::{DamagedRange, DeadLetterStore};
use super::directory_scan::{LogSegments, ScannedSegment, UnusableSegment};
use super::event::{Finding, FindingKind};
use super::fs::{Fs, OpenMode};
use super::open_error::OpenError;
use super::options::Options;
use super::segment::{Segment, SegmentLocation, SegmentState, Segments, segment_path};
use super::segment_header::{HEADER_LEN, SegmentSeal, segment_name};
use super::tail_recovery::RecoveredTail;
use super::types::Identity;
use super::{directory_scan, frame, random, tail_recovery};
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// The state of a start, from the directory scan to a log that can accept records.
pub(super) struct SegmentAdoption<'a> {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: &'a Path,
    pub(super) options: &'a Options,
    pub(super) checkpoint: Option<&'a Checkpoint>,
    pub(super) dead: DeadLetterStore,
    pub(super) segments: Segments,
    pub(super) tracker: AckTracker,
    pub(super) findings: &'a mut Vec<Finding>,
    pub(super) now: Timestamp,
}

impl SegmentAdoption<'_> {
    /// The log's identity with a new incarnation, or a new identity if no log exists yet.
    pub(super) fn identity(&self, scan: &LogSegments) -> io::Result<Identity> {
        let incarnation = random()?;
        Ok(match scan.segments.last() {
            Some(newest) => Identity { incarnation, ..newest.header.identity.clone() },
            None => Identity { log_id: random()?, secret: random()?, incarnation },
        })
    }

    /// Takes over all segments, after repairing the end of the last one. Returns the LSN of the next record, and the
    /// seal that the next header repeats.
    pub(super) fn adopt_segments(&mut self, scan: LogSegments) -> Result<(Lsn, SegmentSeal), OpenError> {
        let mut expected =
            self.checkpoint.map(|checkpoint| checkpoint.watermark).or_else(|| scan.oldest_headerless());
        let mut before = SegmentSeal::default();
        let mut segments = scan.segments.iter().peekable();
        while let Some(found) = segments.next() {
            let first = found.header.first;
            self.record_gap(expected, first)?;
            let path = segment_path(self.dir, found.place, first);
            let failed = |source| OpenError::Io { path: path.clone(), source };
            let behind = segments.peek().map(|next| &next.header);
            let successor = behind.map(|next| next.predecessor).unwrap_or_default();
            // A segment in the middle, or in `acked/`, may have lost its footer while its successor is missing. Its
            // records are read all the same, because only they show which numbers were assigned.
            let is_open = found.footer.is_none() && successor.first != first;
            let mut labels = found.footer.as_ref().map(|footer| footer.labels.clone()).unwrap_or_default();
            let seal = match is_open {
                true => {
                    if found.place == SegmentLocation::Acked {
                        // The log itself never leaves a segment without a footer there.
                        self.check_seal(found, successor);
                    }
                    let tail = self.read_tail(found).map_err(failed)?;
                    if behind.is_none() && scan.headerless.is_empty() {
                        self.check_durable_end(tail.next())?;
                    }
                    let closed = self.seal_tail(found.place, &tail).map_err(failed)?;
                    labels.clone_from(&tail.footer().labels);
                    // One in `acked/` without records expires with the others, unless its name is needed.
                    let is_kept = found.place == SegmentLocation::Acked && behind.is_some();
                    closed.or_else(|| is_kept.then(|| found.seal(successor)))
                }
                false => Some(self.check_seal(found, successor)),
            };
            let Some(mut seal) = seal else {
                // It has no record: the new segment replaces it and gets its name.
                expected = Some(first);
                continue;
            };
            match behind {
                // Numbers from the first of the next segment on belong to that segment.
                Some(next) => seal.next = seal.next.min(next.first),
                // An earlier failed start may have left a size that is not durable yet.
                None => sync_file(&*self.fs, &path).map_err(failed)?,
            }
            self.add_segment(found, seal, labels);
            expected = Some(seal.next);
            before = seal;
        }
        let mut end = expected.unwrap_or(Lsn(1));
        self.skip_headerless(&scan.headerless, &mut end)?;
        Ok((end, before))
    }

    fn read_tail(&self, found: &ScannedSegment) -> io::Result<RecoveredTail> {
        let durable = self.checkpoint.map(|checkpoint| checkpoint.durable).unwrap_or_default();
        let path = segment_path(self.dir, found.place, found.header.first);
        let (header, access, label) = (&found.header, &found.access, self.options.label);
        let listed = |lsn| self.dead.damage_end(lsn);
        tail_recovery::recover(&*self.fs, &path, header, access, durable, &listed, label)
    }

    /// The seal of a segment that an earlier run closed. Reports a mismatch with its neighbours.
    fn check_seal(&mut self, found: &ScannedSegment, successor: SegmentSeal) -> SegmentSeal {
        let seal = found.seal(successor);
        let Some(detail) = found.seal_mismatch(successor) else { return seal };
        self.findings.push(Finding {
            segment: segment_name(seal.first),
            offset: seal.length,
            kind: FindingKind::Damaged,
            detail: detail.to_owned(),
        });
        seal
    }

    /// A segment at the end with an unreadable header had an unknown number of records. No number that it may have used
    /// is assigned again.
    fn skip_headerless(&mut self, headerless: &[UnusableSegment], end: &mut Lsn) -> Result<(), OpenError> {
        for UnusableSegment { first, bytes, detail, .. } in headerless {
            let (first, bytes) = (*first, *bytes);
            if first < *end || Failpoint::HeadlessNumbersGiven.is_set() {
                continue;
            }
            self.record_gap(Some(*end), first)?;
            let durable_next = self.checkpoint.map_or(Lsn(0), |checkpoint| checkpoint.durable.next);
            let next = durable_next.max(first.plus(bytes / frame::FRAME_HEADER as u64)).max(first.next());
            let name = segment_name(first);
            self.add_damage(first, Lsn(next.0 - 1), &name, detail.clone())
                .map_err(|source| OpenError::Io { path: self.dir.to_owned(), source })?;
            // They are listed as damaged, so later starts must not report them as missing again.
            self.tracker.insert_gap(first, next);
            *end = next;
        }
        Ok(())
    }

    /// Copies the damage of the last segment to quarantine, and seals the surviving records.
    fn seal_tail(&mut self, place: SegmentLocation, tail: &RecoveredTail) -> io::Result<Option<SegmentSeal>> {
        self.findings.extend(tail.findings(false));
        for lost in &tail.lost_ranges {
            tail.quarantine_range(&*self.fs, self.dir, lost)?;
            if self.is_undelivered(place, lost.from..lost.to.next()) {
                self.add_damage(lost.from, lost.to, &segment_name(tail.header.first), lost.detail())?;
            }
        }
        tail.seal(&*self.fs, self.dir)
    }

    /// Whether a damaged range may contain undelivered records. Records in `acked/` were delivered, unless the
    /// checkpoint contradicts that.
    fn is_undelivered(&self, place: SegmentLocation, range: Range<Lsn>) -> bool {
        place == SegmentLocation::Pending
            || self.checkpoint.is_some_and(|checkpoint| checkpoint.undone_bounds(range).is_some())
    }

    fn add_segment(&mut self, found: &ScannedSegment, seal: SegmentSeal, labels: BTreeMap<String, u64>) {
        let header = &found.header;
        let place = found.place;
        let last_at = found.footer.as_ref().map_or(header.created, |footer| footer.last_at);
        let state = SegmentState {
            location: place,
            next: seal.next,
            length: seal.length,
            sealed: true,
            last_at,
            index: Vec::new(),
        };
        let segment = Segment::new(header, found.access.clone(), state).with_labels(labels);
        self.segments.insert(Arc::new(segment));
        self.tracker.insert(header.first, self.closed_segment_acks(header.first, seal, place));
    }

    /// Acknowledgement state, from the checkpoint, of a segment that is now sealed.
    fn closed_segment_acks(&self, first: Lsn, seal: SegmentSeal, place: SegmentLocation) -> SegmentAcks {
        let (count, bytes) = (seal.next.0.saturating_sub(first.0), seal.length.saturating_sub(HEADER_LEN));
        if self.options.redeliver {
            return SegmentAcks { count, bytes, sealed: true, ..SegmentAcks::default() };
        }
        let mut acks = Checkpoint::current_acks(self.checkpoint, first, place, count, bytes);
        acks.close();
        acks
    }

    /// Handles records between two segments that no file contains: delivered and expired, or missing.
    fn record_gap(&mut self, expected: Option<Lsn>, first: Lsn) -> Result<(), OpenError> {
        let Some(expected) = expected.filter(|&expected| expected < first) else { return Ok(()) };
        if !Failpoint::GapForgotten.is_set() {
            self.tracker.insert_gap(expected, first);
        }
        let Some((from, to)) = directory_scan::missing(self.checkpoint, expected, first) else {
            return Ok(());
        };
        let detail = format!("records {from} to {to} are in no segment");
        let segment = segment_name(from);
        let kind = FindingKind::Missing;
        self.findings.push(Finding { segment: segment.clone(), offset: 0, kind, detail: detail.clone() });
        self.add_damage(from, to, &segment, detail)
            .map_err(|source| OpenError::Io { path: self.dir.to_owned(), source })
    }

    /// Lists records as damaged, durably. Skips records at the beginning of the range that are dead letters already,
    /// because an entry is found by the LSN of its first record.
    fn add_damage(&self, from: Lsn, to: Lsn, segment: &str, reason: String) -> io::Result<()> {
        let mut first = from;
        while let Some(last) = self.dead.last_covered(first).filter(|_| first <= to) {
            first = last.next();
        }
        if first > to {
            return Ok(());
        }
        let (lsn_from, lsn_to, segment) = (first.0, to.0, segment.to_owned());
        self.dead.add_damage(DamagedRange { lsn_from, lsn_to, segment, reason, found_at: self.now })
    }

    /// A dead letter was flushed before it was stored. Its number was assigned, whatever the end of the log contains.
    pub(super) fn skip_dead_letters(&mut self, end: Lsn) -> Result<Lsn, OpenError> {
        let is_behind = |last: &Lsn| *last >= end && !Failpoint::LetterNumbersGiven.is_set();
        let Some(last) = self.dead.last().filter(is_behind) else { return Ok(end) };
        self.record_gap(Some(end), last.next())?;
        Ok(last.next())
    }

    /// Fails if the log ends before the durable position of its checkpoint: records were lost.
    pub(super) fn check_durable_end(&self, next: Lsn) -> Result<(), OpenError> {
        match self.checkpoint {
            Some(checkpoint) if checkpoint.durable.next > next && !Failpoint::PromiseNotChecked.is_set() => {
                Err(OpenError::Lost {
                    durable: Lsn(checkpoint.durable.next.0 - 1),
                    found: Lsn(next.0.saturating_sub(1)),
                    path: self.dir.join(super::checkpoint::FILE),
                })
            }
            _ => Ok(()),
        }
    }
}

fn sync_file(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    fs.open(path, OpenMode::Write)?.sync_all()
}
