//! Skips damage that a reader meets. The damaged bytes are copied to `quarantine/`, the lost records are stored as a
//! dead letter, and the reader continues at the next readable record. The reader moves on only after both are durable,
//! and reports each loss.

use std::io;
use std::path::PathBuf;

use super::dead_letters::DamagedRange;
use super::event::{Event, Finding, FindingKind};
use super::frame::ALIGN;
use super::log::Log;
use super::quarantine;
use super::segment::Segment;
use super::segment_header::segment_name;
use super::types::ReadError;
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// The location at which a reader met damage.
#[derive(Clone, Copy)]
pub struct DamageLocation<'a> {
    /// The segment.
    pub segment: &'a Segment,
    /// Offset of the damage.
    pub offset: u64,
    /// The record expected at that offset.
    pub lsn: Lsn,
}

/// Returns the position after the damage: the next readable record of the segment, or its end. If undelivered records
/// were lost, the bytes are copied to quarantine and the loss is stored first.
pub fn skip_damage(log: &Log, damaged: DamageLocation<'_>) -> Result<(u64, Lsn), ReadError> {
    let region = DamagedRegion::find_end(log, damaged)?;
    if let Some(first) = region.first_undelivered(log).filter(|_| !Failpoint::DamageSkipped.is_set()) {
        region.store(log, first)?;
        log.report(Event::Damaged(region.finding()));
    }
    Ok(region.resume_at)
}

/// The same for an operator who checks the whole log. The bytes are copied to quarantine, once, even if only delivered
/// records were lost. Returns the finding, unless it was quarantined earlier.
pub fn quarantine_damage(
    log: &Log,
    damaged: DamageLocation<'_>,
) -> Result<((u64, Lsn), Option<Finding>), ReadError> {
    let region = DamagedRegion::find_end(log, damaged)?;
    if let Some(first) = region.first_undelivered(log) {
        region.store(log, first)?;
    } else if region.is_quarantined(log).map_err(|e| region.failed(e))? {
        return Ok((region.resume_at, None));
    } else {
        region.copy(log).map_err(|e| region.failed(e))?;
    }
    Ok((region.resume_at, Some(region.finding())))
}

/// A damaged range of a segment.
struct DamagedRegion<'a> {
    from: DamageLocation<'a>,
    resume_at: (u64, Lsn),
    /// Description of the sectors in it that the disk cannot read.
    unreadable: Option<String>,
    path: PathBuf,
}

impl<'a> DamagedRegion<'a> {
    fn find_end(log: &Log, from: DamageLocation<'a>) -> Result<Self, ReadError> {
        let DamageLocation { segment, offset, lsn } = from;
        let path = segment.path(&log.dir);
        let (end_lsn, length) = segment.flushed();
        let io = |source| ReadError::Io { path: path.clone(), source };
        let mut scanner = segment.scanner(&*log.fs, &log.dir).map_err(io)?;
        // A number at or after the segment's end belongs to another segment, even if the checksum is correct.
        let numbers = lsn.0 + 1..=end_lsn.0.saturating_sub(1);
        let behind = scanner.resync(offset + ALIGN as u64, numbers).map_err(io)?;
        let behind = behind.map_or((length, end_lsn), |(at, meta)| (at, meta.lsn));
        let unreadable = scanner.unreadable(&(offset..behind.0)).detail(&segment_name(segment.first));
        Ok(Self { from, resume_at: behind, unreadable, path })
    }

    /// The first lost record that is undelivered. Lost records before it may be dead letters, which keep their entries:
    /// an entry is found by its first number.
    fn first_undelivered(&self, log: &Log) -> Option<Lsn> {
        (self.from.lsn.0..self.resume_at.1.0).map(Lsn).find(|&lost| !log.is_done(lost))
    }

    fn finding(&self) -> Finding {
        let DamageLocation { segment, offset, lsn } = self.from;
        let (end, next) = self.resume_at;
        let mut detail = format!("bytes {offset} to {end}: records {lsn} to {} cannot be read", next.0 - 1);
        if let Some(unreadable) = &self.unreadable {
            detail = format!("{detail}; {unreadable}");
        }
        Finding { segment: segment_name(segment.first), offset, kind: FindingKind::Damaged, detail }
    }

    /// Quarantines the bytes and stores the lost records as a dead letter.
    fn store(&self, log: &Log, first: Lsn) -> Result<(), ReadError> {
        let DamageLocation { lsn, .. } = self.from;
        let next = self.resume_at.1;
        let Finding { segment, detail: reason, .. } = self.finding();
        let stored = self.copy(log).and_then(|()| {
            let (lsn_from, lsn_to) = (first.0, next.0 - 1);
            log.add_damage(DamagedRange { lsn_from, lsn_to, segment, reason, found_at: Timestamp::now() })
        });
        stored.map_err(|source| self.failed(source))?;
        log.mark_done((lsn.0..next.0).map(|lost| (Lsn(lost), 0)));
        Ok(())
    }

    fn is_quarantined(&self, log: &Log) -> io::Result<bool> {
        let DamageLocation { segment, offset, .. } = self.from;
        let file = segment.open(&*log.fs, &log.dir)?;
        quarantine::is_quarantined(&*log.fs, &log.dir, &*file, segment.first, offset..self.resume_at.0)
    }

    fn copy(&self, log: &Log) -> io::Result<()> {
        let DamageLocation { segment, offset, .. } = self.from;
        let file = segment.open(&*log.fs, &log.dir)?;
        quarantine::copy_range(
            &*log.fs,
            &log.dir,
            &*file,
            segment.first,
            offset..self.resume_at.0,
            quarantine::DAMAGED,
        )
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Quarantine { path: self.path.clone(), source }
    }
}
