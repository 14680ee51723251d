//! Reads files around sectors that the disk cannot read.
//!
//! A failed read is retried, because most read errors are temporary. If the error persists and indicates a bad medium,
//! the range is read page by page and sector by sector. Sectors that stay unreadable are filled with [`FILLER`] and
//! recorded. Every checksum over them fails, so they are treated like other damage: quarantined, listed and skipped.
//!
//! A bad sector is distinguished from a failed disk by other reads. At least one other sector of the same file must be
//! readable. For a file that fits in one sector, another file of the log must be readable ([`read_checked`]). Otherwise
//! the error is returned. In addition, nothing is skipped before its copy in quarantine is flushed to the same disk. A
//! failed disk therefore turns no backlog into dead letters.

use std::ops::Range;
use std::path::Path;
use std::{fmt, io};

use super::fs::{File, Fs, OpenMode, read_full};

/// Replaces unreadable bytes. Not zero, because zeros mark the end of the log.
const FILLER: u8 = 0xff;
/// The smallest unit in which a disk fails, in bytes.
const SECTOR: u64 = 512;
/// The unit in which a file system reads, in bytes.
const PAGE: u64 = 4096;
/// Number of retries of a failed read: a bus reset or a path failover takes that long.
const RETRIES: u32 = 2;
/// Maximum number of ranges in a finding. A failing disk may have thousands.
const MAX_NAMED_RANGES: usize = 3;

/// The result of a read.
#[derive(Debug)]
pub struct SalvagedRead {
    /// Number of bytes before the end of the file.
    pub len: usize,
    /// The ranges that were replaced by filler.
    pub unreadable: UnreadableRanges,
}

/// Ranges of a file that cannot be read: whole sectors, in order, not adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableRanges(Vec<Range<u64>>);

impl UnreadableRanges {
    /// Whether there are no ranges.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole ranges that overlap this one.
    pub fn overlapping(&self, range: &Range<u64>) -> Self {
        let touches = |one: &&Range<u64>| one.start < range.end && range.start < one.end;
        Self(self.0.iter().filter(touches).cloned().collect())
    }

    /// Replaces what is recorded about a range.
    pub fn replace(&mut self, range: &Range<u64>, by: &Self) {
        let before = self.0.iter().map(|one| one.start..one.end.min(range.start));
        let behind = self.0.iter().map(|one| one.start.max(range.end)..one.end);
        let mut all: Vec<_> = before.chain(by.0.iter().cloned()).chain(behind).collect();
        all.retain(|one| one.start < one.end);
        all.sort_by_key(|one| one.start);
        self.0.clear();
        all.into_iter().for_each(|one| self.add(one));
    }

    /// End of the last range.
    pub fn end(&self) -> Option<u64> {
        self.0.last().map(|last| last.end)
    }

    /// All ranges.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// A description; `None` if there are no ranges.
    pub fn detail(&self, file: &str) -> Option<String> {
        (!self.is_empty()).then(|| format!("unreadable: input/output error at {self} of {file}"))
    }

    /// Adds a range at the end.
    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }
}

impl fmt::Display for UnreadableRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            self.0.iter().take(MAX_NAMED_RANGES).map(|one| format!("bytes {}–{}", one.start, one.end - 1));
        f.write_str(&named.collect::<Vec<_>>().join(", "))?;
        match self.0.len().saturating_sub(MAX_NAMED_RANGES) {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// Fills `buf` from `offset` like [`read_full`], but around unreadable sectors. Fails if nothing of the file can be
/// read, or for another reason than a bad medium.
pub fn read(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<SalvagedRead> {
    match read_with_retries(file, buf, offset) {
        Err(error) if is_media_error(&error) => read_by_page(file, buf, offset, error),
        read => Ok(SalvagedRead { len: read?, unreadable: UnreadableRanges::default() }),
    }
}

/// Like [`read`], for a file of the log in `dir` that may be smaller than a sector. If nothing of it can be read, and
/// another file of the log can, all of it is unreadable.
pub fn read_checked(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    buf: &mut [u8],
    offset: u64,
) -> io::Result<SalvagedRead> {
    match read(file, buf, offset) {
        Err(error) if is_media_error(&error) && disk_responds(fs, dir) => {
            let end = (offset + buf.len() as u64).min(file.size()?);
            let len = end.saturating_sub(offset) as usize;
            let mut unreadable = UnreadableRanges::default();
            mark_unreadable(&mut buf[..len], &(offset..end), &mut unreadable);
            Ok(SalvagedRead { len, unreadable })
        }
        read => read,
    }
}

/// Reads a whole file of the log in `dir`; `None` if it does not exist. Fails if it is larger than `limit` bytes.
pub fn read_file(
    fs: &dyn Fs,
    dir: &Path,
    path: &Path,
    limit: u64,
) -> io::Result<Option<(Vec<u8>, UnreadableRanges)>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let len = file.size()?;
    if len > limit {
        return Err(io::Error::other(format!(
            "{} has {len} bytes; at most {limit} are allowed",
            path.display()
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let SalvagedRead { len, unreadable } = read_checked(fs, dir, &*file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(Some((bytes, unreadable)))
}

/// Like [`read_full`], with retries after an error.
pub fn read_with_retries(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = read_full(file, buf, offset);
    for _ in 0..RETRIES {
        if read.is_ok() {
            break;
        }
        std::thread::sleep(file.retry_pause());
        read = read_full(file, buf, offset);
    }
    read
}

/// Overwrites unreadable sectors in the pages of a range that is about to be written, so that the disk remaps them.
/// Without it, a write to a part of such a page fails, because the system must read the rest of the page first.
pub fn make_writable(file: &dyn File, range: &Range<u64>) -> io::Result<()> {
    let pages = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE);
    let mut bytes = vec![0; (pages.end - pages.start) as usize];
    read(file, &mut bytes, pages.start)?.unreadable.0.iter().try_for_each(|range| {
        let filler = vec![FILLER; (range.end - range.start) as usize];
        file.write_all_at(&filler, range.start)
    })
}

/// Whether an error indicates a bad medium. A shortage of memory or descriptors, or a removed device, is no evidence
/// about the data on the disk.
fn is_media_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // The errors of the block layer, and of file systems with their own checksums.
    const MEDIUM: [Errno; 5] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|code| MEDIUM.iter().any(|errno| errno.raw_os_error() == code))
}

/// Reads page by page, and sector by sector in pages that fail.
fn read_by_page(file: &dyn File, buf: &mut [u8], offset: u64, error: io::Error) -> io::Result<SalvagedRead> {
    let end = (offset + buf.len() as u64).min(file.size()?);
    let mut unreadable = UnreadableRanges::default();
    let (mut at, mut read_any) = (offset, false);
    while at < end {
        let page = at..(at + 1).next_multiple_of(PAGE).min(end);
        let here = &mut buf[(at - offset) as usize..(page.end - offset) as usize];
        if try_read(file, here, at)? {
            read_any = true;
        } else {
            read_any |= read_page(file, here, &page, &mut unreadable)?;
        }
        at = page.end;
    }
    if !read_any && !has_readable(file)? {
        return Err(error);
    }
    Ok(SalvagedRead { len: end.saturating_sub(offset) as usize, unreadable })
}

/// Reads the sectors of a page that cannot be read as a whole. Returns whether any of them is readable.
fn read_page(
    file: &dyn File,
    buf: &mut [u8],
    page: &Range<u64>,
    unreadable: &mut UnreadableRanges,
) -> io::Result<bool> {
    let sectors: Vec<_> = (page.start / SECTOR..page.end.div_ceil(SECTOR))
        .map(|sector| (sector * SECTOR).max(page.start)..((sector + 1) * SECTOR).min(page.end))
        .collect();
    let part = |sector: &Range<u64>| (sector.start - page.start) as usize..(sector.end - page.start) as usize;
    // Most file systems read whole pages. If both ends fail, the sectors between fail too, each perhaps after seconds.
    let ends_fail = match &sectors[..] {
        [first, .., last] => {
            !try_read(file, &mut buf[part(first)], first.start)?
                && !try_read(file, &mut buf[part(last)], last.start)?
        }
        _ => false,
    };
    let mut read_any = false;
    for sector in &sectors {
        match !ends_fail && try_read(file, &mut buf[part(sector)], sector.start)? {
            true => read_any = true,
            false => mark_unreadable(&mut buf[part(sector)], sector, unreadable),
        }
    }
    Ok(read_any)
}

/// Records a range as unreadable, in whole sectors, and fills `buf` with filler.
fn mark_unreadable(buf: &mut [u8], range: &Range<u64>, unreadable: &mut UnreadableRanges) {
    buf.fill(FILLER);
    unreadable.add(range.start / SECTOR * SECTOR..range.end.next_multiple_of(SECTOR));
}

/// Reads a small range completely. Returns `false` after an error of the medium.
fn try_read(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<bool> {
    match read_full(file, buf, offset) {
        Err(error) if is_media_error(&error) => Ok(false),
        read => read.map(|_| true),
    }
}

/// Whether a sector at the beginning, in the middle or at the end of a file is readable.
fn has_readable(file: &dyn File) -> io::Result<bool> {
    let size = file.size()?;
    for at in [0, size / 2, size.saturating_sub(1)] {
        let start = at / SECTOR * SECTOR;
        let mut sector = vec![0; SECTOR.min(size - start) as usize];
        if try_read(file, &mut sector, start)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether any file of the log in `dir` can be read, so that the disk works.
fn disk_responds(fs: &dyn Fs, dir: &Path) -> bool {
    let within = ["pending", "acked", "dead", "sent", ""].into_iter().map(|name| dir.join(name));
    let mut files = within.flat_map(|dir| {
        let names = fs.list(&dir).unwrap_or_default();
        names.into_iter().map(move |name| dir.join(name))
    });
    files.any(|path| {
        fs.open(&path, OpenMode::Read)
            .is_ok_and(|file| file.size().is_ok_and(|size| size > 0) && has_readable(&*file).unwrap_or(false))
    })
}
