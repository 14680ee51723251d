//! One process a log: a lock on the `LOCK` file, held for life and released by the kernel, also after `kill -9`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::failpoint::Failpoint;

/// The file's name in the log's directory.
pub const FILE: &str = "LOCK";

/// The right to write to a log. Dropping it gives the right back.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{dir} is in use by {holder}: one process at a time may write to a log")]
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
        /// What the system said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of the log in `dir`, which must exist.
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
    /// By word, not by closing the file: a child that another thread is just starting has the file too until it runs
    /// its own program, and with it the lock.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked with the last descriptor.
        let _ = self.file.unlock();
    }
}

/// Whether a process has the lock of the log in `dir`. Looks without touching it: trying the lock, even for an
/// instant, could turn away a daemon that starts in that instant.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    let path = dir.join(FILE);
    let file = match std::fs::metadata(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if !file.is_file() {
        // No process locks it, and reading a FIFO would block.
        return Ok(false);
    }
    let place =
        format!("{:02x}:{:02x}:{}", rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()), file.ino());
    // Some file systems show another device there than in `stat`: then the process named in the file decides.
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

/// Who has the lock of the log in `dir`, in the words of a refusal; `None` if nobody. Looks without touching it.
pub fn check_held(dir: &Path) -> io::Result<Option<LockError>> {
    if !is_held(dir)? {
        return Ok(None);
    }
    let holder = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    Ok(Some(LockError::Held { dir: dir.display().to_string(), holder: with_holder(&holder) }))
}

/// The name is a courtesy: without it the message is still right.
fn with_holder(holder: &str) -> String {
    if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    pub fn a_second_holder_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::acquire(dir.path()).unwrap();
        let told = Lock::acquire(dir.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        assert!(is_held(dir.path()).unwrap());
        let inherited = first.file.try_clone().unwrap();
        drop(first);
        assert!(!is_held(dir.path()).unwrap(), "a child that is just starting holds nothing");
        drop(inherited);
        Lock::acquire(dir.path()).unwrap();
    }
}
