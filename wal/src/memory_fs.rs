//! A file system in memory, for fuzzing and for concurrency models. It knows which bytes were flushed, can fail a
//! flush, and has no other faults. (`tests/sim_fs.rs` loses and tears unflushed data.)

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard};

use super::fs::{Dir, File, Fs, OpenMode};

/// Files by path. Clones share the files.
#[derive(Clone, Default)]
pub struct MemoryFs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<FileContent>>>,
    /// Number of further calls of `sync_data` that succeed; `None` if all do.
    flushes: Option<u64>,
    free: Option<u64>,
    bytes_read: u64,
}

#[derive(Default)]
struct FileContent {
    written: Vec<u8>,
    flushed: Vec<u8>,
}

struct MemoryFile {
    bytes: Arc<Mutex<FileContent>>,
    fs: MemoryFs,
}

impl MemoryFs {
    /// Creates a flushed file.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let bytes = FileContent { written: bytes.to_vec(), flushed: bytes.to_vec() };
        self.state().files.insert(path.to_owned(), Arc::new(Mutex::new(bytes)));
    }

    /// Another file system with the written content of this one.
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        self.state().files.iter().for_each(|(path, bytes)| copy.put(path, &bytes.lock().written));
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Number of bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }
}

/// Operations for models.
impl MemoryFs {
    /// Every file with its flushed content.
    pub fn flushed(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.state().files.clone();
        files.into_iter().map(|(path, bytes)| (path, bytes.lock().flushed.clone())).collect()
    }

    /// Lets `n` more flushes succeed. All later ones fail.
    pub fn fail_flush_after(&self, n: u64) {
        self.state().flushes = Some(n);
    }

    /// Sets the free space in bytes.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = Some(bytes);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// A directory whose entries are durable immediately.
struct DurableDir;

impl Dir for DurableDir {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Fs for MemoryFs {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let bytes = match mode {
            OpenMode::Read | OpenMode::Write => state.files.get(path).cloned().ok_or_else(missing)?,
            OpenMode::Create => Arc::clone(state.files.entry(path.to_owned()).or_default()),
        };
        drop(state);
        if mode == OpenMode::Create {
            bytes.lock().written.clear();
        }
        Ok(Arc::new(MemoryFile { bytes, fs: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let bytes = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().files.remove(path).map(|_| ()).ok_or_else(missing)
    }

    fn open_dir(&self, _: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(DurableDir))
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(self.state().free.unwrap_or(u64::MAX))
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.written.len());
        let count = buf.len().min(bytes.written.len() - from);
        buf[..count].copy_from_slice(&bytes.written[from..from + count]);
        drop(bytes);
        self.fs.state().bytes_read += count as u64;
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.bytes.lock();
        let (from, end) = (offset as usize, offset as usize + buf.len());
        if bytes.written.len() < end {
            bytes.written.resize(end, 0);
        }
        bytes.written[from..end].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        if state.flushes == Some(0) {
            return Err(io::Error::other("the flush failed"));
        }
        state.flushes = state.flushes.map(|left| left - 1);
        drop(state);
        let mut bytes = self.bytes.lock();
        bytes.flushed = bytes.written.clone();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().written.resize(len as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().written.len() as u64)
    }
}
