//! The file system operations that the log needs: few enough for a simulation that injects faults.
//!
//! There are two implementations: `RealFs` here, and the simulated one of the tests, which loses or tears unflushed
//! data.

use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Pause before a retry of a failed read. A bus reset takes about 10 ms. A reader of a damaged segment pauses a few
/// times.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Only the service user may access files and directories, because they contain personal data.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Flags that never block on a FIFO, and never follow a symbolic link out of the directory. They have no effect on
/// regular files.
const OPEN_FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW);

/// A path of the log is not a regular file.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a regular file")]
struct NotAFile(&'static str);

/// The error for opening something that is not a regular file; `None` for a regular file.
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

/// Whether opening failed because the path is not a regular file, or not a directory.
pub(super) fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
        || error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
}

/// Whether the system was temporarily short of a resource: descriptors, memory, disk space. The call changed nothing
/// and may be repeated. This does not hold for a write or a flush: a failed one is final.
pub fn is_resource_shortage(error: &io::Error) -> bool {
    use Errno as E;
    let short = [E::MFILE, E::NFILE, E::NOMEM, E::AGAIN, E::NOSPC, E::DQUOT];
    error.raw_os_error().is_some_and(|code| short.iter().any(|errno| errno.raw_os_error() == code))
}

/// The mode in which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read only. The file must exist.
    Read,
    /// Read and write. The file must exist.
    Write,
    /// Read and write. The file is created if missing, and truncated if it exists.
    Create,
}

/// An open file. All offsets are explicit, and nothing is buffered.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes. Returns 0 only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the beginning of `buf`, at least one byte, and returns the number of bytes written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// `fdatasync`: flushes data, and the size if it changed.
    fn sync_data(&self) -> io::Result<()>;
    /// `fsync`: flushes data and metadata.
    fn sync_all(&self) -> io::Result<()>;
    /// Truncates the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size of the file in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Pause before a failed read is retried.
    fn retry_pause(&self) -> Duration {
        RETRY_PAUSE
    }

    /// Writes all of `buf`. Short writes are continued, interrupted ones retried.
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

/// An open directory. Its entries can be flushed even if the process has no file descriptor left.
pub trait Dir: Send + Sync {
    /// Makes the entries durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Fs: Send + Sync {
    /// Creates a directory and its missing parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Lists the names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Renames a file, and replaces an existing one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Opens a directory.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }
    /// Bytes that an unprivileged user can still write.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// Fills `buf` from `offset`. Returns the number of bytes before the end of the file.
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

/// Replaces a file atomically: after a crash, its complete old or new content exists. Order: write the new file, flush
/// it, rename it, flush the directory.
pub fn replace_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(path);
    let file = fs.open(&temporary, OpenMode::Create)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    durable_rename(fs, &temporary, path)
}

/// The temporary name of a file that will replace the one at `path`.
pub fn temporary_path(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Renames a flushed file over the one it replaces, durably. After an error, either of them may exist after a crash.
pub fn durable_rename(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<()> {
    fs.rename(from, to)?;
    fs.sync_dir(parent(to))
}

/// The directory of a path.
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
            // For a socket, a symbolic link, or a directory opened for writing, the system's own error is less clear.
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
