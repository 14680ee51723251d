//! The directory `quarantine/`: copies of bytes that were cut or cannot be read, and files that were moved away.
//! Defines the file names, and copies and moves files durably.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fs::{File, Fs, OpenMode};
use super::segment_header::{HEADER_LEN, SegmentHeader};
use super::{fs, salvage};
use crate::units::Lsn;

/// Directory name inside the log's directory.
pub const DIR: &str = "quarantine";
/// Size of a read.
const CHUNK: usize = 1 << 20;
/// Suffix of a copy of damaged bytes.
pub const DAMAGED: &str = "damaged";
/// Suffix of a copy of a segment's first block.
pub const HEADER: &str = "header";

/// Whether quarantine has a copy of a damaged range of a segment. The damage was then reported earlier.
pub fn is_quarantined(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    first: Lsn,
    range: Range<u64>,
) -> io::Result<bool> {
    match fs.open(&range_path(dir, first, range.start, DAMAGED), OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        copy => Ok(copy?.size()? >= available_len(file, &range)?),
    }
}

/// Number of bytes of the range that the file has. Its recorded length may be wrong.
fn available_len(file: &dyn File, range: &Range<u64>) -> io::Result<u64> {
    Ok(range.end.min(file.size()?).saturating_sub(range.start))
}

/// Copies a range of a segment's file to `quarantine/<first>-<offset>.<why>`, durably, with filler for unreadable
/// bytes. Damaged bytes of an encrypted segment could not be decrypted after the segment is deleted, so
/// `<first>.header` keeps its key.
pub fn copy_range(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    first: Lsn,
    range: Range<u64>,
    why: &str,
) -> io::Result<()> {
    if why == DAMAGED {
        copy_key_block(fs, dir, file, first)?;
    }
    let path = range_path(dir, first, range.start, why);
    copy(fs, dir, file, range, &path)
}

/// Copies a range of a file of the log to a new file, durably, in chunks: it may be a whole large segment.
pub fn copy(fs: &dyn Fs, dir: &Path, file: &dyn File, range: Range<u64>, to: &Path) -> io::Result<()> {
    let temporary = fs::temporary_path(to);
    let copy = fs.open(&temporary, OpenMode::Create)?;
    let end = range.start + available_len(file, &range)?;
    let mut piece = vec![0; CHUNK.min((end - range.start) as usize)];
    let mut at = range.start;
    while at < end {
        let want = CHUNK.min((end - at) as usize);
        let got = salvage::read_checked(fs, dir, file, &mut piece[..want], at)?.len;
        copy.write_all_at(&piece[..got], at - range.start)?;
        at += want as u64;
    }
    copy.sync_all()?;
    fs::durable_rename(fs, &temporary, to)
}

fn range_path(dir: &Path, first: Lsn, start: u64, why: &str) -> PathBuf {
    dir.join(DIR).join(format!("{:020}-{start}.{why}", first.0))
}

/// Copies a file of the log to quarantine, durably, if it exists. Returns the path of the copy.
pub fn copy_file(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let file = match fs.open(&dir.join(name), OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let path = free_path(fs, dir, name)?;
    copy(fs, dir, &*file, 0..file.size()?, &path)?;
    Ok(Some(path))
}

/// Moves a file of the log to quarantine, durably.
pub fn move_file(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<()> {
    let from = dir.join(name);
    fs.rename(&from, &free_path(fs, dir, name)?)?;
    fs.sync_dir(&dir.join(DIR))?;
    fs.sync_dir(fs::parent(&from))
}

/// An unused name in quarantine for another file of the log: `dead/letters` becomes `dead-letters.1`, then `.2`.
pub fn free_path(fs: &dyn Fs, dir: &Path, name: &str) -> io::Result<PathBuf> {
    fs.create_dir_all(&dir.join(DIR))?;
    let taken = fs.list(&dir.join(DIR))?;
    let stem = name.replace('/', "-");
    let free = (1..).map(|n: u64| format!("{stem}.{n}")).find(|name| !taken.contains(name));
    Ok(dir.join(DIR).join(free.unwrap_or(stem)))
}

fn copy_key_block(fs: &dyn Fs, dir: &Path, file: &dyn File, first: Lsn) -> io::Result<()> {
    let mut block = vec![0; HEADER_LEN as usize];
    let read = salvage::read(file, &mut block, 0)?.len;
    if !SegmentHeader::decode(&block[..read]).is_ok_and(|header| header.encrypted) {
        return Ok(());
    }
    fs::replace_file(fs, &dir.join(DIR).join(format!("{:020}.{HEADER}", first.0)), &block)
}
