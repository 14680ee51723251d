//! A temporary file of zeros in the measured directory. Like the log's segments, it is filled before it is used.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, bail};
use cli_support::Interrupt;
use forebay_wal::fs::{Fs, RealFs};

use crate::output::note;

/// Size of the file in bytes: the default size of a segment.
const FILE_BYTES: u64 = 64 << 20;
/// Minimum size in bytes. A smaller file gives no meaningful result.
const MIN_FILE_BYTES: u64 = 2 << 20;
/// The file takes at most 1/`PART_OF_FREE` of the free space, because a daemon may use the same disk.
const PART_OF_FREE: u64 = 10;
const CHUNK: usize = 1 << 20;

/// The file. It is removed on drop.
pub struct TestFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl TestFile {
    /// Creates the file and fills it with zeros.
    pub fn create(dir: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let free = RealFs.free_space(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        let size = FILE_BYTES.min(free / PART_OF_FREE) / CHUNK as u64 * CHUNK as u64;
        if size < MIN_FILE_BYTES {
            bail!(
                "{free} bytes are free in {}; a tenth of it is too little for a measurement: free space there",
                dir.display()
            );
        }
        // If the file remains after a crash, `repair` treats it as a leftover.
        let path = dir.join(format!("bench-disk-{}.tmp", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.with_context(|| format!("cannot create {}", path.display()))?;
        let created = Self { path, file, size };
        created.fill(interrupt)?;
        Ok(created)
    }

    fn fill(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let zeros = vec![0; CHUNK];
        for at in (0..self.size).step_by(CHUNK) {
            if interrupt.was_received() {
                bail!("interrupted");
            }
            self.write_and_flush(&zeros, at)?;
        }
        Ok(self.file.sync_all()?)
    }

    /// Writes and flushes with `fdatasync` once, like a commit.
    pub fn write_and_flush(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        self.file.sync_data()
    }

    /// Returns `at`, or 0 if `bytes` bytes do not fit there.
    pub fn offset_with_room(&self, at: u64, bytes: u64) -> u64 {
        if at + bytes <= self.size { at } else { 0 }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            note!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// Returns the type of the directory's file system: that of the last mount at its longest mount point.
pub fn file_system(dir: &Path) -> io::Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`: proc(5)
    let of = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?.to_owned();
        dir.starts_with(&point).then_some((point.len(), kind))
    };
    let found = mounts.lines().filter_map(of).max_by_key(|(length, _)| *length);
    Ok(found.map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind))
}
