//! Segments in `acked/` that hold undelivered records: somebody moved or copied them there.
//!
//! The log itself moves a segment there only after a durable checkpoint that calls all of it delivered. So the
//! checkpoint decides, and a start moves the segment back to `pending/`. Without a checkpoint the directory is all the
//! evidence there is: what lies in `acked/` then counts as delivered, because a lost checkpoint must not deliver a day
//! again.

use std::io;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::directory_scan::ScannedSegment;
use super::event::{Finding, FindingKind};
use super::fs::Fs;
use super::segment::{SegmentLocation, segment_path};
use super::segment_header::{SegmentSeal, segment_name};

/// Moves these segments back, durably, and reports each.
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

/// What an operator is told of a segment that lies in `acked/` and holds undelivered records; `None` otherwise.
pub fn finding(checkpoint: &Checkpoint, found: &ScannedSegment, successor: SegmentSeal) -> Option<Finding> {
    let first = found.header.first;
    // One without a footer may hold any number of records, one at least.
    let end = found.seal(successor).next.max(first.next());
    let (from, to) =
        checkpoint.undone_bounds(first..end).filter(|_| found.place == SegmentLocation::Acked)?;
    Some(Finding {
        segment: segment_name(first),
        offset: 0,
        kind: FindingKind::Misplaced,
        detail: format!(
            "it lies in acked/, and by the checkpoint records {from} to {to} of it are not delivered: it belongs into \
             pending/"
        ),
    })
}
