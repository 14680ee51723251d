//! The file system as the log needs it: small enough to be simulated, faults included.
//!
//! Two implementations: `RealFs` here, and the simulated one of the tests, which loses and tears what was not
//! flushed.

use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// A bus reset takes some ten milliseconds. A reader of a damaged segment waits this long a few times.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Files and directories are the service user's alone: what waits here is people's data.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Never waits for the other end of a FIFO, and never follows a symbolic link out of the directory. Neither matters to
/// a regular file.
const OPEN_FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW);

/// Something else lies where the log keeps a file.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a regular file")]
struct NotAFile(&'static str);

/// What lies there instead of a regular file, as the error that opening it gives; `None` for a regular file.
pub(super) fn not_a_file(there: &fs::Metadata) -> Option<io::Error> {
    let kind = there.file_type();
    let what = match () {
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Some(io::Error::other(NotAFile(what)))
}

/// Whether opening failed because something else lies where the log keeps a file or a directory.
pub(super) fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
        || error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
}

/// Whether the system was short of something that it may have again: descriptors, memory, room. The call changed
/// nothing and may be repeated. Says nothing good about a write or a flush: a failed one is final.
pub fn is_resource_shortage(error: &io::Error) -> bool {
    use Errno as E;
    let short = [E::MFILE, E::NFILE, E::NOMEM, E::AGAIN, E::NOSPC, E::DQUOT];
    error.raw_os_error().is_some_and(|code| short.iter().any(|errno| errno.raw_os_error() == code))
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To read only; it must exist.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To read and write; made if missing, emptied if not.
    Create,
}

/// An open file. All positions are explicit; nothing is buffered here.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 is the end of the file, an error never is.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the beginning of `buf`, at least a byte of it, and says how much.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// `fdatasync`: data, and the size if it changed.
    fn sync_data(&self) -> io::Result<()>;
    /// `fsync`.
    fn sync_all(&self) -> io::Result<()>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// How long to wait before a read that failed is tried again.
    fn retry_pause(&self) -> Duration {
        RETRY_PAUSE
    }

    /// Writes all of `buf`; short writes are continued, interruptions retried.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.write_at(&buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A directory, opened so that its entries can be flushed also when the process has no descriptor left.
pub trait Dir: Send + Sync {
    /// Makes its entries durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Fs: Send + Sync {
    /// Makes a directory and the missing ones above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Opens a directory.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }
    /// Bytes an unprivileged user may still write.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// Fills `buf` from `offset`; says how many bytes there were before the end of the file.
pub fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Replaces a file so that after a crash either the old or the new content is there, whole: new file → flush →
/// rename → flush of the directory.
pub fn replace_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(path);
    let file = fs.open(&temporary, OpenMode::Create)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    durable_rename(fs, &temporary, path)
}

/// The name of a file until it replaces the one at `path`.
pub fn temporary_path(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Gives a flushed file the name of the one it replaces, durably. After an error nobody knows which of them a crash
/// leaves there.
pub fn durable_rename(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<()> {
    fs.rename(from, to)?;
    fs.sync_dir(parent(to))
}

/// The directory a path lies in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(FILE_MODE).custom_flags(OPEN_FLAGS.bits() as i32);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        match options.open(path) {
            Ok(file) => match not_a_file(&file.metadata()?) {
                None => Ok(Arc::new(file)),
                Some(error) => Err(error),
            },
            // A socket, a symbolic link, or a directory to be written: the system says so less clearly.
            Err(error) => {
                let there = fs::symlink_metadata(path).ok().and_then(|there| not_a_file(&there));
                Err(there.unwrap_or(error))
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(fs::File::open(dir)?))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(dir)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

impl Dir for fs::File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl File for fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        fs::File::sync_all(self)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fs::File::set_len(self, len)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}
