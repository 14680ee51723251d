//! A file system that injects the faults of failpoints: a call that does not reach the disk, or a wrong result.
//!
//! It wraps the real or a simulated file system, and behaves like it while none of its failpoints is set. It identifies
//! a call by the file's path and by the last change through the same handle. It exists only in builds with the feature
//! `planted-faults`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::encryption::key_slots;
use super::fs::{Dir, File, Fs, OpenMode};
use super::segment::SegmentLocation;
use super::segment_header::HEADER_LEN;
use super::{checkpoint, dead_letters, delivery_index, footer, preallocated_segment};
use crate::failpoint::Failpoint;
use crate::sync::Mutex;

/// Size in bytes of what [`Failpoint::UnreadableIsBlank`] loses at a time.
const SECTOR: u64 = 512;

/// Wraps a file system with fault injection.
pub fn wrap(inner: Arc<dyn Fs>) -> Arc<dyn Fs> {
    Arc::new(FaultyFs { inner, renamed: Arc::default() })
}

struct FaultyFs {
    inner: Arc<dyn Fs>,
    renamed: LastRename,
}

/// Previous name of the file that was renamed last.
type LastRename = Arc<Mutex<PathBuf>>;

struct FaultyDir {
    inner: Arc<dyn Dir>,
    path: PathBuf,
    renamed: LastRename,
}

struct FaultyFile {
    inner: Arc<dyn File>,
    kind: FileKind,
    is_temporary: bool,
    last: Mutex<LastChange>,
}

/// The purpose of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// A segment, or the preallocated next one.
    Segment,
    Notes,
    Letters,
    Other,
}

/// The last change of a file through one handle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastChange {
    Nothing,
    Header,
    Footer,
    /// Records, or other content.
    Content,
    Size,
}

/// The failpoint that loses this `fdatasync`.
fn lost_data_flush(kind: FileKind, last: LastChange) -> Option<Failpoint> {
    match (kind, last) {
        (FileKind::Segment, LastChange::Header) => Some(Failpoint::HeaderNotFlushed),
        (FileKind::Segment, LastChange::Content) => Some(Failpoint::SkipFlush),
        (FileKind::Segment, LastChange::Footer) => Some(Failpoint::SealNotFlushed),
        (FileKind::Notes, _) => Some(Failpoint::NotesNotFlushed),
        (FileKind::Letters, _) => Some(Failpoint::LettersNotFlushed),
        _ => None,
    }
}

/// The failpoint that loses this `fsync` of a file.
fn lost_flush(kind: FileKind, is_temporary: bool, last: LastChange) -> Option<Failpoint> {
    match (kind, last) {
        _ if is_temporary => Some(Failpoint::ReplacedNotFlushed),
        (FileKind::Segment, LastChange::Size) => Some(Failpoint::CutNotFlushed),
        (FileKind::Segment, LastChange::Nothing) => Some(Failpoint::SizeNotFlushed),
        _ => None,
    }
}

/// The failpoint that loses this `fsync` of a directory.
fn lost_dir_flush(dir: &Path, renamed: &Path) -> Option<Failpoint> {
    match () {
        () if dir.ends_with(delivery_index::DIR) => Some(Failpoint::NotesDirNotFlushed),
        () if dir.ends_with(SegmentLocation::Pending.dir())
            && renamed.ends_with(preallocated_segment::FILE) =>
        {
            Some(Failpoint::SkipDirectoryFlush)
        }
        () if is_temporary(renamed) && renamed.parent() == Some(dir) => {
            Some(Failpoint::ReplacedDirNotFlushed)
        }
        () => None,
    }
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

impl FileKind {
    fn of(path: &Path) -> Self {
        let is_in = |dir: &str| path.parent().is_some_and(|parent| parent.ends_with(dir));
        match () {
            () if path.ends_with(preallocated_segment::FILE) => Self::Segment,
            () if is_in(SegmentLocation::Pending.dir()) || is_in(SegmentLocation::Acked.dir()) => {
                Self::Segment
            }
            () if is_in(delivery_index::DIR) => Self::Notes,
            () if is_in(dead_letters::DIR) => Self::Letters,
            () => Self::Other,
        }
    }
}

impl LastChange {
    /// The kind of change of a write. The continuation of a short write has the rest of the same bytes.
    fn of_write(bytes: &[u8], offset: u64) -> Self {
        match () {
            () if offset < HEADER_LEN => Self::Header,
            () if bytes.ends_with(&footer::TRAILER_MAGIC) => Self::Footer,
            () => Self::Content,
        }
    }
}

impl FaultyFile {
    /// Whether a failpoint loses this write.
    fn loses_write(&self, bytes: &[u8], offset: u64) -> bool {
        let is_repeated = |failpoint: Failpoint| failpoint.is_set() && self.already_contains(bytes, offset);
        match self.kind {
            FileKind::Segment => {
                (Failpoint::SkipShred.is_set() && bytes == key_slots::shredded_slot())
                    || is_repeated(Failpoint::SurvivorsNotRewritten)
            }
            FileKind::Letters if !self.is_temporary => {
                Failpoint::LettersNotStored.is_set() || is_repeated(Failpoint::LettersNotRewritten)
            }
            FileKind::Letters | FileKind::Notes | FileKind::Other => false,
        }
    }

    /// Whether the file already contains these bytes.
    fn already_contains(&self, bytes: &[u8], offset: u64) -> bool {
        let mut held = vec![0; bytes.len()];
        self.inner.read_at(&mut held, offset).is_ok_and(|len| len == held.len()) && held == bytes
    }

    /// Reads at most to the end of a sector. Returns zeros for an unreadable sector.
    fn read_sector(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buf.len().min((SECTOR - offset % SECTOR) as usize);
        self.inner.read_at(&mut buf[..len], offset).or_else(|error| {
            let is_retried = error.kind() == io::ErrorKind::Interrupted;
            buf[..len].fill(0);
            if is_retried { Err(error) } else { Ok(len) }
        })
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if Failpoint::UnreadableIsBlank.is_set() {
            return self.read_sector(buf, offset);
        }
        match self.inner.read_at(buf, offset) {
            Err(_) if Failpoint::ReadErrorIsEnd.is_set() => Ok(0),
            read => read,
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let change = LastChange::of_write(buf, offset);
        *self.last.lock() = change;
        if self.loses_write(buf, offset) {
            return Ok(buf.len());
        }
        if self.kind == FileKind::Segment
            && change == LastChange::Footer
            && Failpoint::CutBeforeFooter.is_set()
        {
            self.inner.set_len(offset)?;
            self.inner.sync_all()?;
        }
        match self.inner.write_at(buf, offset) {
            Ok(_) if Failpoint::ShortWriteAccepted.is_set() => Ok(buf.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                let fails = Failpoint::InterruptedWriteFails.is_set();
                Err(if fails { io::Error::other("interrupted") } else { error })
            }
            Err(_) if self.kind == FileKind::Notes && Failpoint::NotesForgotten.is_set() => Ok(buf.len()),
            written => written,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let last = *self.last.lock();
        if lost_data_flush(self.kind, last).is_some_and(Failpoint::is_set) {
            return Ok(());
        }
        let flushed = self.inner.sync_data();
        let is_commit = self.kind == FileKind::Segment && last == LastChange::Content;
        match flushed {
            Err(_) if is_commit && Failpoint::FlushErrorIgnored.is_set() => Ok(()),
            Err(_) if is_commit && Failpoint::FlushRetried.is_set() => self.inner.sync_data(),
            flushed => flushed,
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        let lost = lost_flush(self.kind, self.is_temporary, *self.last.lock());
        if lost.is_some_and(Failpoint::is_set) { Ok(()) } else { self.inner.sync_all() }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        *self.last.lock() = LastChange::Size;
        self.inner.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn retry_pause(&self) -> Duration {
        self.inner.retry_pause()
    }
}

impl Dir for FaultyDir {
    fn sync(&self) -> io::Result<()> {
        let lost = lost_dir_flush(&self.path, &self.renamed.lock());
        if lost.is_some_and(Failpoint::is_set) { Ok(()) } else { self.inner.sync() }
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        let (kind, is_temporary) = (FileKind::of(path), is_temporary(path));
        Ok(Arc::new(FaultyFile { inner, kind, is_temporary, last: Mutex::new(LastChange::Nothing) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to.ends_with(checkpoint::FILE) && Failpoint::RetiredBeforeCheckpoint.is_set() {
            return Ok(());
        }
        self.inner.rename(from, to)?;
        from.clone_into(&mut self.renamed.lock());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        let (path, renamed) = (dir.to_owned(), Arc::clone(&self.renamed));
        Ok(Arc::new(FaultyDir { inner: self.inner.open_dir(dir)?, path, renamed }))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.inner.free_space(dir)
    }
}
