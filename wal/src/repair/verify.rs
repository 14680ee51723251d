//! Reads every retained record, and copies unreadable ones to quarantine.

use super::super::damage::DamageLocation;
use super::super::encryption::PayloadError;
use super::super::event::Finding;
use super::super::log::Log;
use super::super::open_error::OpenError;
use super::super::segment::Segment;
use super::super::segment_header::HEADER_LEN;
use super::super::types::ReadError;
use super::super::{damage, frame};

/// Receives the number of bytes read since its last call.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Reads all segments. Returns the damage that was not quarantined earlier.
pub fn verify_segments(log: &Log, progress: Progress<'_>) -> Result<Vec<Finding>, OpenError> {
    let mut findings = Vec::new();
    for segment in log.segments() {
        verify_segment(log, &segment, &mut findings, progress).map_err(|error| match error {
            ReadError::Io { path, source } | ReadError::Quarantine { path, source } => {
                OpenError::Io { path, source }
            }
        })?;
    }
    Ok(findings)
}

fn verify_segment(
    log: &Log,
    segment: &Segment,
    findings: &mut Vec<Finding>,
    progress: Progress<'_>,
) -> Result<(), ReadError> {
    let io = |source| ReadError::Io { path: segment.path(&log.dir), source };
    let length = segment.flushed().1;
    let mut scanner = segment.scanner(&*log.fs, &log.dir).map_err(io)?;
    let mut plain = Vec::new();
    let (mut offset, mut lsn) = (HEADER_LEN, segment.first);
    while offset < length {
        let here = offset;
        let found = scanner.frame_at(offset).map_err(io)?;
        let found = found.ok().filter(|found| (found.meta.kind, found.meta.lsn) == (frame::RECORD, lsn));
        match found
            .filter(|found| segment.access.read(*found, here, &mut plain).err() != Some(PayloadError::Forged))
        {
            Some(found) => (offset, lsn) = (offset + found.len as u64, lsn.next()),
            None => {
                let (behind, found) =
                    damage::quarantine_damage(log, DamageLocation { segment, offset, lsn })?;
                findings.extend(found);
                (offset, lsn) = behind;
            }
        }
        progress(offset - here);
    }
    Ok(())
}
