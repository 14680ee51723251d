//! An overlay over a file system: it keeps changes in memory and never writes them below. Reads see the changes. A plan
//! can therefore run the code of the repair, and matches it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Mutex, MutexGuard};

use super::super::fs::{Dir, File, Fs, OpenMode};
use super::super::{fs, quarantine, salvage};

/// Changes are stored per page. Rewriting identical bytes (most of a segment, zeros of a preallocated one) stores
/// nothing.
const PAGE: usize = 4096;

/// The overlay. The lower file system is only read.
pub struct OverlayFs {
    lower: Arc<dyn Fs>,
    /// Files that were opened for writing, created, renamed, or removed (`None`).
    names: Mutex<BTreeMap<PathBuf, Option<Arc<OverlayFile>>>>,
}

/// A directory that is never flushed.
struct OverlayDir;

impl Dir for OverlayDir {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file and its changes.
struct OverlayFile {
    lower: Option<Arc<dyn File>>,
    /// Whether written bytes are stored. Copies in quarantine may be large and are never read, so theirs are not.
    kept: bool,
    state: Mutex<OverlayState>,
}

struct OverlayState {
    len: u64,
    /// Visible length of the lower file.
    lower_len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl OverlayFs {
    /// An overlay without changes.
    pub fn new(below: Arc<dyn Fs>) -> Self {
        Self { lower: below, names: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<OverlayFile>>>> {
        self.names.lock()
    }

    /// The current version of a file.
    fn find(&self, path: &Path) -> io::Result<Arc<OverlayFile>> {
        match self.names().get(path) {
            Some(Some(file)) => return Ok(Arc::clone(file)),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let below = self.lower.open(path, OpenMode::Read)?;
        let len = below.size()?;
        Ok(Arc::new(OverlayFile::new(Some(below), len, true)))
    }
}

impl Fs for OverlayFs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = match self.lower.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        for (path, file) in &*self.names() {
            let Some(name) = path.file_name().filter(|_| path.parent() == Some(dir)) else { continue };
            let name = name.to_string_lossy().into_owned();
            names.retain(|other| *other != name);
            names.extend(file.as_ref().map(|_| name));
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = match mode {
            OpenMode::Read => return Ok(self.find(path)?),
            OpenMode::Write => self.find(path)?,
            OpenMode::Create => {
                let aside = path.parent().is_some_and(|dir| dir.ends_with(quarantine::DIR));
                Arc::new(OverlayFile::new(None, 0, !aside))
            }
        };
        self.names().insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?;
        let mut names = self.names();
        names.insert(to.to_owned(), Some(file));
        names.insert(from.to_owned(), None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.names().insert(path.to_owned(), None);
        Ok(())
    }

    fn open_dir(&self, _dir: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(OverlayDir))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.lower.free_space(dir)
    }
}

impl OverlayFile {
    fn new(below: Option<Arc<dyn File>>, len: u64, kept: bool) -> Self {
        Self {
            lower: below,
            kept,
            state: Mutex::new(OverlayState { len, lower_len: len, pages: BTreeMap::new() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, OverlayState> {
        self.state.lock()
    }

    /// The current content of a page, with filler for unreadable bytes. Also returns whether all of it is readable.
    fn page(&self, state: &OverlayState, page: u64) -> io::Result<(Vec<u8>, bool)> {
        if let Some(bytes) = state.pages.get(&page) {
            return Ok((bytes.clone(), true));
        }
        let (mut bytes, offset) = (vec![0; PAGE], page * PAGE as u64);
        let Some(below) = &self.lower else { return Ok((bytes, true)) };
        let shown = (PAGE as u64).min(state.lower_len.saturating_sub(offset)) as usize;
        let read = salvage::read(&**below, &mut bytes[..shown], offset)?;
        Ok((bytes, read.unreadable.is_empty()))
    }

    /// Fills `buf` with the bytes at `offset`, and with zeros after the end of the file.
    fn fill(&self, state: &OverlayState, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.fill(0);
        let size = PAGE as u64;
        let end = offset + buf.len() as u64;
        // The lower file is not read for pages that were written, because it may be unable to read them.
        let is_hidden = (offset / size..end.div_ceil(size)).all(|page| state.pages.contains_key(&page));
        if let Some(below) = self.lower.as_ref().filter(|_| !is_hidden) {
            let shown = (buf.len() as u64).min(state.lower_len.saturating_sub(offset)) as usize;
            fs::read_full(&**below, &mut buf[..shown], offset)?;
        }
        for (&page, bytes) in state.pages.range(offset / size..end.div_ceil(size)) {
            let from = offset.max(page * size);
            let to = end.min((page + 1) * size);
            let here = &bytes[(from - page * size) as usize..(to - page * size) as usize];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(here);
        }
        Ok(())
    }
}

impl File for OverlayFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state();
        let n = (buf.len() as u64).min(state.len.saturating_sub(offset)) as usize;
        self.fill(&state, &mut buf[..n], offset)?;
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        let end = offset + buf.len() as u64;
        let size = PAGE as u64;
        for page in offset / size..end.div_ceil(size) {
            if !self.kept {
                break;
            }
            let (mut bytes, is_whole) = self.page(&state, page)?;
            let (from, to) = (offset.max(page * size), end.min((page + 1) * size));
            let new = &buf[(from - offset) as usize..(to - offset) as usize];
            let old = &mut bytes[(from - page * size) as usize..(to - page * size) as usize];
            if !is_whole || old != new {
                old.copy_from_slice(new);
                state.pages.insert(page, bytes);
            }
        }
        state.len = state.len.max(end);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.lower_len = state.lower_len.min(len);
        state.pages.split_off(&len.div_ceil(PAGE as u64));
        if let Some(last) = state.pages.get_mut(&(len / PAGE as u64)) {
            last[(len % PAGE as u64) as usize..].fill(0);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn retry_pause(&self) -> Duration {
        self.lower.as_ref().map_or(Duration::ZERO, |below| below.retry_pause())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fs::RealFs;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = prop_oneof![vec(any::<u8>(), 1..6_000), (1..9_000usize).prop_map(|n| vec![0; n])];
        prop_oneof![
            3 => (0..20_000u64, bytes).prop_map(|(at, bytes)| Op::Write(at, bytes)),
            1 => (0..24_000u64).prop_map(Op::SetLen),
        ]
    }

    fn content(file: &dyn File) -> Vec<u8> {
        let mut bytes = vec![7; file.size().unwrap() as usize + 3];
        let read = fs::read_full(file, &mut bytes, 0).unwrap();
        bytes.truncate(read);
        bytes
    }

    proptest! {
        /// The overlay behaves like a file, and no change reaches the file.
        #[test]
        fn changes_are_visible_and_never_written_below(ops in vec(op(), 1..30)) {
            let dir = tempfile::tempdir().unwrap();
            let (path, twin) = (dir.path().join("a"), dir.path().join("b"));
            let good: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
            std::fs::write(&path, &good).unwrap();
            std::fs::write(&twin, &good).unwrap();
            let dry = OverlayFs::new(Arc::new(RealFs));
            let (tried, done) = (dry.open(&path, OpenMode::Write).unwrap(), RealFs.open(&twin, OpenMode::Write).unwrap());
            for op in ops {
                for file in [&tried, &done] {
                    match &op {
                        Op::Write(at, bytes) => file.write_all_at(bytes, *at).unwrap(),
                        Op::SetLen(len) => file.set_len(*len).unwrap(),
                    }
                }
                prop_assert_eq!(content(&*tried), content(&*done));
            }
            prop_assert_eq!(content(&*dry.open(&path, OpenMode::Read).unwrap()), content(&*done));
            prop_assert_eq!(std::fs::read(&path).unwrap(), good);
        }
    }

    #[test]
    fn name_changes_are_visible_in_the_overlay_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "one").unwrap();
        std::fs::write(path("b"), "two").unwrap();
        let dry = OverlayFs::new(Arc::new(RealFs));
        dry.rename(&path("a"), &path("c")).unwrap();
        dry.remove(&path("b")).unwrap();
        dry.open(&path("d"), OpenMode::Create).unwrap();
        let mut names = dry.list(dir.path()).unwrap();
        names.sort();
        assert_eq!(names, ["c", "d"]);
        assert_eq!(content(&*dry.open(&path("c"), OpenMode::Read).unwrap()), b"one");
        for gone in ["a", "b"] {
            assert_eq!(dry.open(&path(gone), OpenMode::Read).err().unwrap().kind(), io::ErrorKind::NotFound);
        }
        let mut real = RealFs.list(dir.path()).unwrap();
        real.sort();
        assert_eq!(real, ["a", "b"]);
    }
}
