//! A file system in memory that loses unflushed data at a crash.
//!
//! - A write is pending until its file is flushed. At a crash each pending 512-byte sector survives or not,
//!   independently of the others.
//! - A directory change (create, rename, remove) is pending until that directory is flushed. At a crash the first
//!   pending changes survive, as on a journalled file system.
//! - A failed flush discards the file's pending writes and reports them as clean, as Linux does. A new size stays
//!   pending.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use super::super::fs::{Dir, File, Fs, OpenMode};

const SECTOR: usize = 512;

/// Kind of call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultyCall {
    Write,
    Flush,
    Rename,
    SyncDir,
    Read,
    Create,
    Remove,
    SetLen,
}

impl FaultyCall {
    pub const ALL: [Self; 8] = [
        Self::Write,
        Self::Flush,
        Self::Rename,
        Self::SyncDir,
        Self::Read,
        Self::Create,
        Self::Remove,
        Self::SetLen,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameChange {
    Link { path: PathBuf, inode: usize },
    Unlink { path: PathBuf },
}

impl NameChange {
    fn dir(&self) -> &Path {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => path.parent().unwrap(),
        }
    }
}

#[derive(Clone, Default)]
struct Inode {
    /// Content for readers.
    data: Vec<u8>,
    /// Content that survives a crash.
    durable: Vec<u8>,
    /// Writes since the last flush: offset and bytes. `None` is a change of size.
    pending: Vec<(usize, Option<Vec<u8>>)>,
    /// Sectors that cannot be read until they are completely overwritten.
    unreadable: BTreeSet<usize>,
}

#[derive(Default)]
struct DiskState {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    free: u64,
    calls: u64,
    fault: Option<(u64, FaultyCall)>,
    fired: bool,
    flushes: u64,
    /// All writes so far, including those that were lost: file, offset, bytes.
    journal: Vec<(usize, usize, Vec<u8>)>,
    /// The disk was removed: nothing can be read, written or listed.
    gone: bool,
    /// Changing calls that still succeed before the process crashes.
    left: Option<u64>,
}

/// The file system. Clones share the disk.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<DiskState>>);

struct SimFile(Arc<Mutex<DiskState>>, usize);

struct SimDir(SimFs, PathBuf);

/// Decides what survives a crash. Called with a number of choices, it returns one of them.
pub type Chooser<'a> = &'a mut dyn FnMut(usize) -> usize;

impl SimFs {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(DiskState { free: u64::MAX, ..DiskState::default() })))
    }

    /// The power fails and returns.
    pub fn crash(&self, choose: Chooser<'_>) {
        let mut disk = self.0.lock();
        let kept = choose(disk.pending_names.len() + 1);
        let changes: Vec<_> = disk.pending_names.drain(..).take(kept).collect();
        changes.iter().for_each(|change| apply(&mut disk.durable_names, change));
        disk.names = disk.durable_names.clone();
        for inode in &mut disk.inodes {
            for (offset, bytes) in std::mem::take(&mut inode.pending) {
                match bytes {
                    None if choose(2) == 0 => inode.durable.resize(offset, 0),
                    None => {}
                    Some(bytes) => survive(&mut inode.durable, offset, &bytes, choose),
                }
            }
            inode.data = inode.durable.clone();
        }
        disk.fault = None;
        disk.left = None;
    }

    /// The power fails, and no unflushed data survives.
    pub fn lose_unflushed(&self) {
        {
            let mut disk = self.0.lock();
            disk.pending_names.clear();
            disk.inodes.iter_mut().for_each(|inode| inode.pending.clear());
        }
        self.crash(&mut |_| 0);
    }

    /// The power fails, and all unflushed data survives.
    pub fn keep_unflushed(&self) {
        {
            let mut disk = self.0.lock();
            disk.durable_names = disk.names.clone();
            disk.pending_names.clear();
            for inode in disk.inodes.iter_mut().filter(|inode| !inode.pending.is_empty()) {
                inode.durable = inode.data.clone();
                inode.pending.clear();
            }
        }
        self.crash(&mut |_| 0);
    }

    /// After `calls` more changing calls, every changing call fails, as if the process had crashed. This ends with the
    /// next crash.
    pub fn stop_after(&self, calls: u64) {
        self.0.lock().left = Some(calls);
    }

    /// Whether the calls of `stop_after` are used up.
    pub fn has_stopped(&self) -> bool {
        self.0.lock().left == Some(0)
    }

    /// The process is killed and the machine continues: nothing is lost.
    pub fn kill(&self) {
        let mut disk = self.0.lock();
        disk.fault = None;
        disk.left = None;
    }

    /// After `after` more calls of this kind, the next one fails.
    pub fn fail(&self, fault: FaultyCall, after: u64) {
        let mut disk = self.0.lock();
        disk.calls = 0;
        disk.fired = false;
        disk.fault = Some((after, fault));
    }

    /// Whether the call has failed.
    pub fn has_failed(&self) -> bool {
        self.0.lock().fired
    }

    pub fn set_free(&self, free: u64) {
        self.0.lock().free = free;
    }

    /// A file's content for readers.
    pub fn read(&self, path: &Path) -> Vec<u8> {
        let disk = self.0.lock();
        disk.inodes[disk.names[path]].data.clone()
    }

    /// Replaces a file's content durably, without a call of the log.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.0.lock();
        let inode = disk.names[path];
        disk.inodes[inode] = Inode { data: bytes.clone(), durable: bytes, ..Inode::default() };
    }

    /// Makes a sector of a file unreadable.
    pub fn break_sector(&self, path: &Path, sector: usize) {
        let mut disk = self.0.lock();
        let inode = disk.names[path];
        disk.inodes[inode].unreadable.insert(sector);
    }

    /// Removes the disk, or reinserts it.
    pub fn set_removed(&self, gone: bool) {
        self.0.lock().gone = gone;
    }

    /// A copy that shares no data.
    pub fn deep_copy(&self) -> Self {
        let disk = self.0.lock();
        Self(Arc::new(Mutex::new(DiskState {
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            pending_names: disk.pending_names.clone(),
            free: disk.free,
            journal: disk.journal.clone(),
            ..DiskState::default()
        })))
    }

    /// All writes so far, in order: file, offset, bytes.
    pub fn journal(&self) -> Vec<(usize, usize, Vec<u8>)> {
        self.0.lock().journal.clone()
    }

    /// Flushes of files and directories so far.
    pub fn flushes(&self) -> u64 {
        self.0.lock().flushes
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }
}

fn survive(durable: &mut Vec<u8>, offset: usize, bytes: &[u8], choose: Chooser<'_>) {
    let mut at = 0;
    // All, nothing, or each sector by itself. The first two are by far the most likely on a real disk.
    let outcome = choose(3);
    while at < bytes.len() {
        let len = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
        if outcome == 0 || (outcome == 2 && choose(2) == 0) {
            let end = offset + at + len;
            if durable.len() < end {
                durable.resize(end, 0);
            }
            durable[offset + at..end].copy_from_slice(&bytes[at..at + len]);
        }
        at += len;
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Link { path, inode } => drop(names.insert(path.clone(), *inode)),
        NameChange::Unlink { path } => drop(names.remove(path)),
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Inode {
    /// Whether this range overlaps an unreadable sector.
    fn is_bad(&self, from: usize, len: usize) -> bool {
        len > 0 && self.unreadable.range(from / SECTOR..=(from + len - 1) / SECTOR).next().is_some()
    }
}

impl DiskState {
    fn call(&mut self, kind: FaultyCall) -> io::Result<()> {
        if self.gone {
            return Err(eio());
        }
        match &mut self.left {
            Some(0) if kind != FaultyCall::Read => return Err(io::Error::other("the process is dead")),
            Some(left) if kind != FaultyCall::Read => *left -= 1,
            _ => {}
        }
        let Some((after, fault)) = self.fault else { return Ok(()) };
        if fault != kind {
            return Ok(());
        }
        self.calls += 1;
        if self.calls > after {
            self.fault = None;
            self.fired = true;
            return Err(eio());
        }
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending_names.push(change);
    }
}

impl Dir for SimDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_dir(&self.1)
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock();
        if disk.gone {
            return Err(eio());
        }
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        let inode = match (disk.names.get(path).copied(), mode) {
            (Some(inode), OpenMode::Create) => {
                disk.call(FaultyCall::Create)?;
                let file = &mut disk.inodes[inode];
                file.data.clear();
                file.pending.push((0, None));
                inode
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Create) => {
                disk.call(FaultyCall::Create)?;
                let inode = disk.inodes.len();
                disk.inodes.push(Inode::default());
                disk.change(NameChange::Link { path: path.to_owned(), inode });
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile(Arc::clone(&self.0), inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(FaultyCall::Rename)?;
        let inode = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.change(NameChange::Link { path: to.to_owned(), inode });
        disk.change(NameChange::Unlink { path: from.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        disk.call(FaultyCall::Remove)?;
        disk.change(NameChange::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(SimDir(self.clone(), dir.to_owned())))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(FaultyCall::SyncDir)?;
        disk.flushes += 1;
        // A journal commits in order: all changes up to the last one of this directory.
        let upto =
            disk.pending_names.iter().rposition(|change| change.dir() == dir).map_or(0, |last| last + 1);
        let changes: Vec<_> = disk.pending_names.drain(..upto).collect();
        changes.iter().for_each(|change| apply(&mut disk.durable_names, change));
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.0.lock().free)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.0.lock();
        disk.call(FaultyCall::Read)?;
        let inode = &disk.inodes[self.1];
        let data = &inode.data;
        let from = (offset as usize).min(data.len());
        let n = buf.len().min(data.len() - from);
        if inode.is_bad(from, n) {
            return Err(eio());
        }
        buf[..n].copy_from_slice(&data[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.0.lock();
        disk.call(FaultyCall::Write)?;
        let (inode, offset) = (&mut disk.inodes[self.1], offset as usize);
        let end = offset + buf.len();
        inode
            .unreadable
            .retain(|sector| !(offset..end).contains(&(sector * SECTOR)) || (sector + 1) * SECTOR > end);
        if inode.is_bad(offset, buf.len()) {
            // A write of a part of a sector reads the rest of it first.
            return Err(eio());
        }
        if inode.data.len() < end {
            inode.data.resize(end, 0);
        }
        inode.data[offset..end].copy_from_slice(buf);
        inode.pending.push((offset, Some(buf.to_vec())));
        disk.journal.push((self.1, offset, buf.to_vec()));
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        let flushed = disk.call(FaultyCall::Flush);
        disk.flushes += 1;
        let inode = &mut disk.inodes[self.1];
        inode.pending.retain(|(_, bytes)| flushed.is_ok() || bytes.is_none());
        flushed?;
        // Only pending writes. Writes that a failed flush discarded are visible, but never reach the disk by
        // themselves.
        for (offset, bytes) in std::mem::take(&mut inode.pending) {
            match bytes {
                None => inode.durable.resize(offset, 0),
                Some(bytes) => survive(&mut inode.durable, offset, &bytes, &mut |_| 0),
            }
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(FaultyCall::SetLen)?;
        let inode = &mut disk.inodes[self.1];
        inode.data.resize(len as usize, 0);
        inode.pending.push((len as usize, None));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().inodes[self.1].data.len() as u64)
    }

    fn retry_pause(&self) -> Duration {
        Duration::ZERO
    }
}
