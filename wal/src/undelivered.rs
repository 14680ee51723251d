//! Finds segments in `acked/` with undelivered records: an operator or another process moved or copied them there.
//!
//! The log itself moves a segment there only after a durable checkpoint marks all its records as done. So the
//! checkpoint decides, and a start moves the segment back to `pending/`. Without a checkpoint, the directory is the
//! only evidence: records in `acked/` then count as delivered. Otherwise a lost checkpoint would deliver a whole day
//! again.

use std::io;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::directory_scan::ScannedSegment;
use super::event::{Finding, FindingKind};
use super::fs::Fs;
use super::segment::{SegmentLocation, segment_path};
use super::segment_header::{SegmentSeal, segment_name};

/// Moves these segments back to `pending/`, durably, and reports each.
pub fn move_back_to_pending(
    fs: &dyn Fs,
    dir: &Path,
    checkpoint: &Checkpoint,
    segments: &mut [ScannedSegment],
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    for index in 0..segments.len() {
        let successor = segments.get(index + 1).map(|next| next.header.predecessor).unwrap_or_default();
        let found = &mut segments[index];
        let first = found.header.first;
        let Some(finding) = finding(checkpoint, found, successor) else { continue };
        fs.rename(
            &segment_path(dir, SegmentLocation::Acked, first),
            &segment_path(dir, SegmentLocation::Pending, first),
        )?;
        fs.sync_dir(&dir.join(SegmentLocation::Pending.dir()))?;
        fs.sync_dir(&dir.join(SegmentLocation::Acked.dir()))?;
        found.place = SegmentLocation::Pending;
        findings.push(finding);
    }
    Ok(())
}

/// The finding about a segment in `acked/` with undelivered records; `None` otherwise.
pub fn finding(checkpoint: &Checkpoint, found: &ScannedSegment, successor: SegmentSeal) -> Option<Finding> {
    let first = found.header.first;
    // A segment without a footer may have any number of records, but at least one.
    let end = found.seal(successor).next.max(first.next());
    let (from, to) =
        checkpoint.undone_bounds(first..end).filter(|_| found.place == SegmentLocation::Acked)?;
    Some(Finding {
        segment: segment_name(first),
        offset: 0,
        kind: FindingKind::Misplaced,
        detail: format!(
            "it is in acked/, but according to the checkpoint its records {from} to {to} are undelivered: it belongs \
             in pending/"
        ),
    })
}
