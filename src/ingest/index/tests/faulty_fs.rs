//! An in-memory file system that counts and fails calls on the index's files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{DIR, LOG};
use crate::wal::fs::{Dir, File, Fs, OpenMode, read_full};
use crate::wal::memory_fs::MemoryFs;

/// Faults and counters of the index's files.
#[derive(Default)]
struct Faults {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    fail_reads: AtomicBool,
    fail_writes: AtomicBool,
}

/// The file system. Clones share their state.
#[derive(Clone, Default)]
pub struct FaultyFs {
    pub memory: MemoryFs,
    faults: Arc<Faults>,
}

struct FaultyFile(Arc<dyn File>, Arc<Faults>);

impl FaultyFs {
    fn is_index_file(path: &Path) -> bool {
        path.starts_with(Path::new(LOG).join(DIR))
    }

    pub fn fail_reads(&self, fail: bool) {
        self.faults.fail_reads.store(fail, Ordering::Relaxed);
    }

    pub fn fail_writes(&self, fail: bool) {
        self.faults.fail_writes.store(fail, Ordering::Relaxed);
    }

    /// The number of reads of the index's files, and the bytes read, during `work`.
    pub fn reads<T>(&self, work: impl FnOnce() -> T) -> (T, u64, u64) {
        let counts =
            || (self.faults.reads.load(Ordering::Relaxed), self.faults.read_bytes.load(Ordering::Relaxed));
        let before = counts();
        let done = work();
        let after = counts();
        (done, after.0 - before.0, after.1 - before.1)
    }

    /// The index's files.
    pub fn files(&self) -> Vec<PathBuf> {
        let dir = Path::new(LOG).join(DIR);
        self.memory.list(&dir).unwrap().iter().map(|name| dir.join(name)).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|path| self.memory.open(path, OpenMode::Read).unwrap().size().unwrap()).sum()
    }

    /// The content of a file.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let file = self.memory.open(path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        read_full(&*file, &mut bytes, 0).unwrap();
        bytes
    }

    /// A copy of all files.
    pub fn copy(&self) -> Self {
        Self { memory: self.memory.copy(), faults: Arc::default() }
    }
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.memory.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.memory.list(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.memory.open(path, mode)?;
        Ok(if Self::is_index_file(path) {
            Arc::new(FaultyFile(file, Arc::clone(&self.faults)))
        } else {
            file
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)
    }
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        self.memory.open_dir(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.memory.free_space(dir)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.1.fail_reads.load(Ordering::Relaxed) {
            return Err(broken());
        }
        self.1.reads.fetch_add(1, Ordering::Relaxed);
        self.1.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        if self.1.fail_writes.load(Ordering::Relaxed) { Err(broken()) } else { self.0.write_at(buf, offset) }
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}
