//! What happens to bytes that are not what was written: a copy aside, a dead letter for the records they held,
//! and the way on behind them. Never in silence, and nothing passes them before both are durable.

use std::io;
use std::path::Path;

use super::dead::Damage;
use super::event::Event;
use super::event::Finding;
use super::event::FindingKind;
use super::frame::ALIGN;
use super::fs;
use super::fs::File;
use super::fs::Fs;
use super::header::HEADER_LEN;
use super::header::Header;
use super::header::segment_name;
use super::log::Log;
use super::log::ReadError;
use super::segment::Segment;
use crate::units::Lsn;
use crate::units::Timestamp;

/// The directory in the log's.
pub const DIR: &str = "quarantine";
/// What the name of a copy of damaged bytes ends in.
pub const DAMAGED: &str = "damaged";
/// What the name of a copy of a segment's first block ends in.
pub const HEADER: &str = "header";

/// Where a reader met damage.
pub struct Damaged<'a> {
    /// In which segment.
    pub segment: &'a Segment,
    /// At which byte.
    pub offset: u64,
    /// Which record should lie there.
    pub lsn: Lsn,
}

/// Finds the way on behind damage: the next readable record of the segment, or its end. If records were lost
/// that are not done, they are quarantined first.
pub fn pass(log: &Log, damaged: Damaged<'_>) -> Result<(u64, Lsn), ReadError> {
    let Damaged { segment, offset, lsn } = damaged;
    let path = segment.path(&log.dir);
    let (end_lsn, length) = segment.flushed();
    let io = |source| ReadError::Io { path: path.clone(), source };
    let mut scanner = segment.scanner(&*log.fs, &log.dir).map_err(io)?;
    let behind = scanner.resync(offset + ALIGN as u64, scanner.from(lsn.next())).map_err(io)?;
    let (next_offset, next) = behind.map_or((length, end_lsn), |(at, meta)| (at, meta.lsn));
    let lost = (lsn.0..next.0).filter(|&lost| !log.is_done(Lsn(lost))).count();
    if lost > 0 {
        let finding = Finding {
            segment: segment_name(segment.first),
            offset,
            kind: FindingKind::Damaged,
            detail: format!(
                "bytes {offset} to {next_offset}: records {lsn} to {} cannot be read",
                next.0 - 1
            ),
        };
        let kept = keep_aside(&*log.fs, &log.dir, segment, offset..next_offset, DAMAGED);
        let stored = kept.and_then(|()| {
            log.dead.add_damage(Damage {
                lsn_from: lsn.0,
                lsn_to: next.0 - 1,
                segment: finding.segment.clone(),
                reason: finding.detail.clone(),
                found_at: Timestamp::now(),
            })
        });
        stored.map_err(|source| ReadError::Quarantine { path: path.clone(), source })?;
        log.mark_done((lsn.0..next.0).map(|lost| (Lsn(lost), 0)));
        log.report(Event::Damaged(finding));
    }
    Ok((next_offset, next))
}

/// Copies a range of a segment into quarantine, durably.
fn keep_aside(
    fs: &dyn Fs,
    dir: &Path,
    segment: &Segment,
    range: std::ops::Range<u64>,
    why: &str,
) -> io::Result<()> {
    copy_range(fs, dir, &*segment.open(fs, dir)?, segment.first, range, why)
}

/// Copies a range of a segment's file into `quarantine/<first>-<offset>.<why>`, durably. Of an encrypted segment
/// what was damaged could not be read any more once the segment is let go of: `<first>.header` keeps its key with it.
pub fn copy_range(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    first: Lsn,
    range: std::ops::Range<u64>,
    why: &str,
) -> io::Result<()> {
    let name = format!("{:020}-{}.{why}", first.0, range.start);
    let path = dir.join(DIR).join(name);
    if why == DAMAGED {
        keep_key(fs, dir, file, first)?;
    }
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = fs::read_full(file, &mut bytes, range.start)?;
    fs::replace_file(fs, &path, &bytes[..read])
}

fn keep_key(fs: &dyn Fs, dir: &Path, file: &dyn File, first: Lsn) -> io::Result<()> {
    let mut block = vec![0; HEADER_LEN as usize];
    let read = fs::read_full(file, &mut block, 0)?;
    if !Header::decode(&block[..read]).is_ok_and(|header| header.encrypted) {
        return Ok(());
    }
    fs::replace_file(fs, &dir.join(DIR).join(format!("{:020}.{HEADER}", first.0)), &block)
}
