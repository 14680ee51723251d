//! Ensures one writing process per log: a lock on the `LOCK` file. It is held until the process ends, and the kernel
//! releases it, also after `kill -9`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::failpoint::Failpoint;

/// The file's name in the log's directory.
pub const FILE: &str = "LOCK";

/// The lock, which is the right to write to a log. Dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why the lock could not be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{dir} is in use by {holder}: only one process at a time may change a log. Stop it first")]
    Held {
        /// The log's directory.
        dir: String,
        /// Process and host, as the holder wrote them.
        holder: String,
    },
    /// The file could not be opened or locked.
    #[error("cannot lock {dir}: {source}")]
    Io {
        /// The log's directory.
        dir: String,
        /// Error of the operating system.
        source: io::Error,
    },
}

impl Lock {
    /// Acquires the lock of the log in `dir`, which must exist.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let name = || dir.display().to_string();
        let failed = |source| LockError::Io { dir: name(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(dir.join(FILE)).map_err(failed)?;
        match file.try_lock() {
            _ if Failpoint::NoLock.is_set() => {}
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(LockError::Held { dir: name(), holder: with_holder(&holder) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("process {} on {}\n", std::process::id(), host.trim());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Unlocks explicitly instead of closing the file: a child process that another thread is starting has the file,
    /// and with it the lock, until it executes its own program.
    fn drop(&mut self) {
        // If this fails, the lock is released with the last file descriptor.
        let _ = self.file.unlock();
    }
}

/// Whether a process holds the lock of the log in `dir`. Does not try to lock the file, because even a short attempt
/// could make a daemon fail that starts at that moment.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    let path = dir.join(FILE);
    let file = match std::fs::metadata(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if !file.is_file() {
        // No process locks such a file, and reading a FIFO would block.
        return Ok(false);
    }
    let place =
        format!("{:02x}:{:02x}:{}", rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()), file.ino());
    // Some file systems show another device there than in `stat`. Then compare the process id in the file.
    let inode = format!(":{}", file.ino());
    let holder = std::fs::read_to_string(&path).unwrap_or_default();
    let holder = holder.split(' ').nth(1).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks")?;
    Ok(locks.lines().any(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1762 fe:00:10109510 0 EOF`
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, at, ..] = words[..] else { return false };
        at == place || (process == holder && at.ends_with(&inode))
    }))
}

/// The error that [`Lock::acquire`] would return if a process holds the lock; `None` if none does. Does not lock.
pub fn check_held(dir: &Path) -> io::Result<Option<LockError>> {
    if !is_held(dir)? {
        return Ok(None);
    }
    let holder = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    Ok(Some(LockError::Held { dir: dir.display().to_string(), holder: with_holder(&holder) }))
}

/// The holder's name is informational; without it the message is still correct.
fn with_holder(holder: &str) -> String {
    if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    pub fn a_second_process_learns_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::acquire(dir.path()).unwrap();
        let message = Lock::acquire(dir.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(is_held(dir.path()).unwrap());
        let inherited = first.file.try_clone().unwrap();
        drop(first);
        assert!(!is_held(dir.path()).unwrap(), "a child process that is starting does not hold the lock");
        drop(inherited);
        Lock::acquire(dir.path()).unwrap();
    }
}
