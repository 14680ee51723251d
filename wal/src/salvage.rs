//! Reads around sectors that the disk cannot read.
//!
//! A failed read is tried again: most read errors pass. If the error stays and says that the medium is at fault, the
//! range is read page by page and sector by sector. Sectors that stay unreadable are filled with [`FILLER`] and
//! listed, so that every checksum over them fails and they are damage like any other: quarantined, listed, passed.
//!
//! A bad sector is told from a disk that is gone by what else can be read. Somewhere in the same file a sector must be
//! readable, or, for a file that lies in one bad sector, somewhere in the log's other files ([`read_checked`]).
//! Otherwise the error stays an error. Besides, nothing is passed before its copy in quarantine is flushed to the same
//! disk: a disk that is gone turns no backlog into dead letters.

use std::ops::Range;
use std::path::Path;
use std::{fmt, io};

use super::fs::{File, Fs, OpenMode, read_full};

/// What stands for bytes that cannot be read. Not zero: zeros have a meaning, the end of the log.
const FILLER: u8 = 0xff;
/// The smallest unit a disk fails in.
const SECTOR: u64 = 512;
/// The unit a file system reads in.
const PAGE: u64 = 4096;
/// Reads beyond the first before an error is believed: a bus reset or a path that fails over takes that long.
const RETRIES: u32 = 2;
/// Ranges named in a finding; a dying disk may have thousands.
const MAX_NAMED_RANGES: usize = 3;

/// What a read found.
#[derive(Debug)]
pub struct SalvagedRead {
    /// Bytes before the end of the file.
    pub len: usize,
    /// Those of them that are filler.
    pub unreadable: UnreadableRanges,
}

/// Ranges of a file that cannot be read: whole sectors, in order, apart from one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableRanges(Vec<Range<u64>>);

impl UnreadableRanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges that have a byte in common with this one, whole.
    pub fn overlapping(&self, range: &Range<u64>) -> Self {
        let touches = |one: &&Range<u64>| one.start < range.end && range.start < one.end;
        Self(self.0.iter().filter(touches).cloned().collect())
    }

    /// Replaces what is known of a range.
    pub fn replace(&mut self, range: &Range<u64>, by: &Self) {
        let before = self.0.iter().map(|one| one.start..one.end.min(range.start));
        let behind = self.0.iter().map(|one| one.start.max(range.end)..one.end);
        let mut all: Vec<_> = before.chain(by.0.iter().cloned()).chain(behind).collect();
        all.retain(|one| one.start < one.end);
        all.sort_by_key(|one| one.start);
        self.0.clear();
        all.into_iter().for_each(|one| self.add(one));
    }

    /// Where the last range ends.
    pub fn end(&self) -> Option<u64> {
        self.0.last().map(|last| last.end)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// In words; `None` if there are none.
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

/// Fills `buf` from `offset`, as [`read_full`] does, and around what the disk cannot read. Fails if nothing of the file
/// can be read, or for another reason than a bad medium.
pub fn read(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<SalvagedRead> {
    match read_with_retries(file, buf, offset) {
        Err(error) if is_media_error(&error) => read_by_page(file, buf, offset, error),
        read => Ok(SalvagedRead { len: read?, unreadable: UnreadableRanges::default() }),
    }
}

/// The same for a file of the log in `dir` that may be smaller than a sector: if nothing of it can be read and another
/// file of the log can, all of it is unreadable.
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

/// Reads a whole file of the log in `dir`; `None` when there is none. A file larger than `limit` bytes is an error.
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
            "{} has {len} bytes, at most {limit} are expected",
            path.display()
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let SalvagedRead { len, unreadable } = read_checked(fs, dir, &*file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(Some((bytes, unreadable)))
}

/// [`read_full`], tried again after an error.
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

/// Overwrites what cannot be read in the pages of a range that is about to be written, so that the disk puts other
/// sectors in its place. A write of a part of such a page fails: the system must read the rest of it first.
pub fn make_writable(file: &dyn File, range: &Range<u64>) -> io::Result<()> {
    let pages = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE);
    let mut bytes = vec![0; (pages.end - pages.start) as usize];
    read(file, &mut bytes, pages.start)?.unreadable.0.iter().try_for_each(|range| {
        let filler = vec![FILLER; (range.end - range.start) as usize];
        file.write_all_at(&filler, range.start)
    })
}

/// Whether an error is what a bad medium gives. A shortage of memory or descriptors, or a device that was pulled out,
/// says nothing of what lies on the disk.
fn is_media_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // How the block layer and file systems with checksums of their own report it.
    const MEDIUM: [Errno; 5] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|code| MEDIUM.iter().any(|errno| errno.raw_os_error() == code))
}

/// Reads page by page, and sector by sector where a page fails.
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

/// Reads the sectors of a page that cannot be read whole. Says whether there was one that can be.
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
    // Most file systems read whole pages: if both ends fail, so do the sectors between, each perhaps for seconds.
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

/// Notes a range as unreadable, by whole sectors, and fills what was asked for of it.
fn mark_unreadable(buf: &mut [u8], range: &Range<u64>, unreadable: &mut UnreadableRanges) {
    buf.fill(FILLER);
    unreadable.add(range.start / SECTOR * SECTOR..range.end.next_multiple_of(SECTOR));
}

/// Reads a small range whole; false if the medium is at fault.
fn try_read(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<bool> {
    match read_full(file, buf, offset) {
        Err(error) if is_media_error(&error) => Ok(false),
        read => read.map(|_| true),
    }
}

/// Whether a sector at the beginning, in the middle or at the end of a file can be read.
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

/// Whether a file of the log in `dir` can be read: the disk is there.
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
