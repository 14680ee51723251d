//! What happens to bytes that are not what was written: a copy aside, a dead letter for the records they held,
//! and the way on behind them. Never in silence, and nothing passes them before both are durable.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use super::dead::Damage;
use super::event::Event;
use super::event::Finding;
use super::event::FindingKind;
use super::frame::ALIGN;
use super::fs;
use super::fs::File;
use super::fs::Fs;
use super::fs::Mode;
use super::header::HEADER_LEN;
use super::header::Header;
use super::header::segment_name;
use super::log::Log;
use super::log::ReadError;
use super::salvage;
use super::segment::Segment;
use crate::planted::Fault;
use crate::planted::planted;
use crate::units::Lsn;
use crate::units::Timestamp;

/// The directory in the log's.
pub const DIR: &str = "quarantine";
/// Copied at once.
const PIECE: usize = 1 << 20;
/// What the name of a copy of damaged bytes ends in.
pub const DAMAGED: &str = "damaged";
/// What the name of a copy of a segment's first block ends in.
pub const HEADER: &str = "header";

/// Where a reader met damage.
#[derive(Clone, Copy)]
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
    let hole = Hole::at(log, damaged)?;
    if let Some(first) = hole.first_lost(log).filter(|_| !planted(Fault::DamageSkipped)) {
        hole.store(log, first)?;
        log.report(Event::Damaged(hole.finding()));
    }
    Ok(hole.behind)
}

/// The same for an operator who wants to know of all damage: where only delivered records were lost, the bytes are
/// kept aside all the same, once. Says what was found and was not set aside before.
pub fn set_aside(log: &Log, damaged: Damaged<'_>) -> Result<((u64, Lsn), Option<Finding>), ReadError> {
    let hole = Hole::at(log, damaged)?;
    if let Some(first) = hole.first_lost(log) {
        hole.store(log, first)?;
    } else if hole.is_aside(log).map_err(|e| hole.failed(e))? {
        return Ok((hole.behind, None));
    } else {
        hole.copy(log).map_err(|e| hole.failed(e))?;
    }
    Ok((hole.behind, Some(hole.finding())))
}

/// A stretch that cannot be read.
struct Hole<'a> {
    from: Damaged<'a>,
    behind: (u64, Lsn),
    /// What of it the disk cannot read, in words.
    unreadable: Option<String>,
    path: PathBuf,
}

impl<'a> Hole<'a> {
    fn at(log: &Log, from: Damaged<'a>) -> Result<Self, ReadError> {
        let Damaged { segment, offset, lsn } = from;
        let path = segment.path(&log.dir);
        let (end_lsn, length) = segment.flushed();
        let io = |source| ReadError::Io { path: path.clone(), source };
        let mut scanner = segment.scanner(&*log.fs, &log.dir).map_err(io)?;
        // A number beyond the segment's end belongs to another one, whatever the checksum beside it says.
        let numbers = lsn.0 + 1..=end_lsn.0.saturating_sub(1);
        let behind = scanner.resync(offset + ALIGN as u64, numbers).map_err(io)?;
        let behind = behind.map_or((length, end_lsn), |(at, meta)| (at, meta.lsn));
        let unreadable = scanner.unreadable(&(offset..behind.0)).detail(&segment_name(segment.first));
        Ok(Self { from, behind, unreadable, path })
    }

    /// The first record that is lost and owed to somebody. The ones before may be dead letters, which keep their
    /// entries: one is found by its first number.
    fn first_lost(&self, log: &Log) -> Option<Lsn> {
        (self.from.lsn.0..self.behind.1.0).map(Lsn).find(|&lost| !log.is_done(lost))
    }

    fn finding(&self) -> Finding {
        let Damaged { segment, offset, lsn } = self.from;
        let (end, next) = self.behind;
        let mut detail = format!("bytes {offset} to {end}: records {lsn} to {} cannot be read", next.0 - 1);
        if let Some(unreadable) = &self.unreadable {
            detail = format!("{detail}; {unreadable}");
        }
        Finding { segment: segment_name(segment.first), offset, kind: FindingKind::Damaged, detail }
    }

    /// Makes it a dead letter, with a copy aside.
    fn store(&self, log: &Log, first: Lsn) -> Result<(), ReadError> {
        let Damaged { lsn, .. } = self.from;
        let next = self.behind.1;
        let Finding { segment, detail: reason, .. } = self.finding();
        let stored = self.copy(log).and_then(|()| {
            let (lsn_from, lsn_to) = (first.0, next.0 - 1);
            log.add_damage(Damage { lsn_from, lsn_to, segment, reason, found_at: Timestamp::now() })
        });
        stored.map_err(|source| self.failed(source))?;
        log.mark_done((lsn.0..next.0).map(|lost| (Lsn(lost), 0)));
        Ok(())
    }

    fn is_aside(&self, log: &Log) -> io::Result<bool> {
        let Damaged { segment, offset, .. } = self.from;
        let file = segment.open(&*log.fs, &log.dir)?;
        is_aside(&*log.fs, &log.dir, &*file, segment.first, offset..self.behind.0)
    }

    fn copy(&self, log: &Log) -> io::Result<()> {
        let Damaged { segment, offset, .. } = self.from;
        let file = segment.open(&*log.fs, &log.dir)?;
        copy_range(&*log.fs, &log.dir, &*file, segment.first, offset..self.behind.0, DAMAGED)
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Quarantine { path: self.path.clone(), source }
    }
}

/// Whether a damaged range of a segment's file lies in quarantine already: whoever put it there has told of it.
pub fn is_aside(fs: &dyn Fs, dir: &Path, file: &dyn File, first: Lsn, range: Range<u64>) -> io::Result<bool> {
    match fs.open(&range_path(dir, first, range.start, DAMAGED), Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        copy => Ok(copy?.size()? >= there(file, &range)?),
    }
}

/// How many bytes of the range the file has. What it should have, others say: that is not to be believed.
fn there(file: &dyn File, range: &Range<u64>) -> io::Result<u64> {
    Ok(range.end.min(file.size()?).saturating_sub(range.start))
}

/// Copies a range of a segment's file into `quarantine/<first>-<offset>.<why>`, durably, with filler for what cannot be
/// read. Of an encrypted segment
/// what was damaged could not be read any more once the segment is let go of: `<first>.header` keeps its key with it.
pub fn copy_range(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    first: Lsn,
    range: Range<u64>,
    why: &str,
) -> io::Result<()> {
    if why == DAMAGED {
        keep_key(fs, dir, file, first)?;
    }
    let path = range_path(dir, first, range.start, why);
    copy(fs, dir, file, range, &path)
}

/// Copies a range of a file of the log into a new one, durably, in pieces: it may be all of a large segment.
pub fn copy(fs: &dyn Fs, dir: &Path, file: &dyn File, range: Range<u64>, to: &Path) -> io::Result<()> {
    let temporary = fs::temporary(to);
    let copy = fs.open(&temporary, Mode::Create)?;
    let end = range.start + there(file, &range)?;
    let mut piece = vec![0; PIECE.min((end - range.start) as usize)];
    let mut at = range.start;
    while at < end {
        let want = PIECE.min((end - at) as usize);
        let got = salvage::read_in(fs, dir, file, &mut piece[..want], at)?.len;
        copy.write_all_at(&piece[..got], at - range.start)?;
        at += want as u64;
    }
    fs::flush_replacement(&*copy)?;
    fs::rename_over(fs, &temporary, to)
}

fn range_path(dir: &Path, first: Lsn, start: u64, why: &str) -> PathBuf {
    dir.join(DIR).join(format!("{:020}-{start}.{why}", first.0))
}

/// Copies a file of the log aside, durably, if it is there. Says where.
pub fn copy_file(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let file = match fs.open(&dir.join(name), Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let path = free_path(fs, dir, name)?;
    copy(fs, dir, &*file, 0..file.size()?, &path)?;
    Ok(Some(path))
}

/// Moves a file of the log aside, durably.
pub fn move_file(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<()> {
    let from = dir.join(name);
    fs.rename(&from, &free_path(fs, dir, name)?)?;
    fs.sync_dir(&dir.join(DIR))?;
    fs.sync_dir(fs::parent(&from))
}

/// A name in quarantine for another file of the log: `dead/letters` becomes `dead-letters.1`, the next one `.2`.
pub fn free_path(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<PathBuf> {
    fs.create_dir_all(&dir.join(DIR))?;
    let taken = fs.list(&dir.join(DIR))?;
    let stem = name.replace('/', "-");
    let free = (1..).map(|n: u64| format!("{stem}.{n}")).find(|name| !taken.contains(name));
    Ok(dir.join(DIR).join(free.unwrap_or(stem)))
}

fn keep_key(fs: &dyn Fs, dir: &Path, file: &dyn File, first: Lsn) -> io::Result<()> {
    let mut block = vec![0; HEADER_LEN as usize];
    let read = salvage::read(file, &mut block, 0)?.len;
    if !Header::decode(&block[..read]).is_ok_and(|header| header.encrypted) {
        return Ok(());
    }
    fs::replace_file(fs, &dir.join(DIR).join(format!("{:020}.{HEADER}", first.0)), &block)
}
