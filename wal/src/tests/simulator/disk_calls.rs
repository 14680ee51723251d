//! The file-system calls of a log, on the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::fs::{Dir, File, Fs, OpenMode};
use super::disk::{Call, Disk, Inode, NameChange, NameDurability, PendingWrite, SECTOR, put};

struct DiskFile(Disk, usize);

struct DiskDir(Disk, PathBuf);

impl Dir for DiskDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_dir(&self.1)
    }
}

impl Fs for Disk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let inode = match (state.names.get(path).copied(), mode) {
            (Some(inode), OpenMode::Create) => {
                state.call(Call::Create)?;
                let file = &mut state.inodes[inode];
                file.view.clear();
                file.pending.push(PendingWrite::Size(0));
                inode
            }
            (Some(inode), _) => {
                state.call(Call::Read)?;
                inode
            }
            (None, OpenMode::Create) => {
                state.call(Call::Create)?;
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.change(NameChange::Link(path.to_owned(), inode));
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(DiskFile(self.clone(), inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Rename)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Move(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.call(Call::Remove)?;
        state.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(DiskDir(self.clone(), dir.to_owned())))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::FlushDir)?;
        let last = state.pending_names.iter().rposition(|change| change.dir() == dir);
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending_names)
            .into_iter()
            .enumerate()
            .partition(|(index, change)| match state.durability {
                NameDurability::Journal => last.is_some_and(|last| *index <= last),
                NameDurability::EachDirectory | NameDurability::Any => change.dir() == dir,
            });
        for (_, change) in &now {
            change.apply(&mut state.durable_names);
        }
        // A name that was created and moved before it was durable leaves no pending change.
        let moved = |path: &Path| {
            now.iter().any(|(_, change)| matches!(change, NameChange::Move(from, ..) if from == path))
        };
        state.pending_names = later
            .into_iter()
            .map(|(_, change)| change)
            .filter(|change| !matches!(change, NameChange::Link(path, _) if moved(path)))
            .collect();
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.0.state();
        state.call(Call::Read)?;
        let len = state.partial_len(buf.len())?;
        let file = &state.inodes[self.1];
        let from = (offset as usize).min(file.view.len());
        let n = len.min(file.view.len() - from);
        if n > 0 && file.unreadable.range(from / SECTOR..=(from + n - 1) / SECTOR).next().is_some() {
            return Err(io::Error::from_raw_os_error(5));
        }
        buf[..n].copy_from_slice(&file.view[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.0.state();
        let failed = state.call(Call::Write);
        let at = offset as usize;
        let mut len = match &failed {
            Ok(()) => state.partial_len(buf.len())?,
            // Bytes written before the fault remain written.
            Err(_) => state.rng.below(buf.len()),
        };
        let grows = (at + len).saturating_sub(state.inodes[self.1].view.len()) as u64;
        let free = state.capacity.saturating_sub(state.used());
        if grows > free {
            state.was_full = true;
            len = len.saturating_sub((grows - free) as usize);
            if len == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
        }
        let dead = state.calls_left == Some(0) && failed.is_err();
        if len > 0 && !dead {
            let file = &mut state.inodes[self.1];
            put(&mut file.view, at, &buf[..len]);
            file.pending.push(PendingWrite::Data(at, buf[..len].to_vec()));
            let first = at.div_ceil(SECTOR);
            file.unreadable.retain(|sector| !(first..(at + len) / SECTOR).contains(sector));
        }
        failed.map(|()| len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        let flushed = state.call(Call::Flush);
        if flushed.is_err() && state.calls_left == Some(0) {
            return flushed;
        }
        let writes = std::mem::take(&mut state.inodes[self.1].pending);
        // A successful flush keeps all pending writes. A failed flush keeps none or any of them; a new size is not
        // data, and stays pending.
        let outcome = if flushed.is_ok() { 0 } else { 1 + state.rng.below(2) };
        for write in writes {
            match write {
                PendingWrite::Size(_) if flushed.is_err() => state.inodes[self.1].pending.push(write),
                write => state.survive(self.1, write, outcome),
            }
        }
        flushed
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(Call::SetLen)?;
        let file = &mut state.inodes[self.1];
        file.view.resize(len as usize, 0);
        file.pending.push(PendingWrite::Size(len as usize));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.state().inodes[self.1].view.len() as u64)
    }

    fn retry_pause(&self) -> Duration {
        Duration::ZERO
    }
}
