//! Tests of concurrent calls: only writers of the dead-letter store wait for its disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::encryption::Keys;
use super::super::fs::{Dir, File, Fs, OpenMode, RealFs};
use super::super::quarantine;
use super::tests::{letter, open};
use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::Lsn;

/// A file system on which flushes wait for a permit, and writes are measured.
#[derive(Clone)]
struct BlockingFs {
    gate: Arc<crate::sync::RwLock<()>>,
    /// Flushes that began.
    flushes: Arc<AtomicU64>,
    /// Bytes of the largest write.
    largest: Arc<AtomicU64>,
}

struct BlockingFile(Arc<dyn File>, BlockingFs);

impl File for BlockingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.1.largest.fetch_max(buf.len() as u64, Ordering::SeqCst);
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.flushes.fetch_add(1, Ordering::SeqCst);
        let _permit = self.1.gate.read();
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl Fs for BlockingFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFs.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFs.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(BlockingFile(RealFs.open(path, mode)?, self.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        RealFs.open_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        RealFs.free_space(dir)
    }
}

impl BlockingFs {
    /// Opens a store on this file system.
    fn open(dir: &Path) -> (Self, DeadLetterStore) {
        std::fs::create_dir_all(dir.join(DIR)).unwrap();
        std::fs::create_dir_all(dir.join(quarantine::DIR)).unwrap();
        let gated = Self { gate: Arc::default(), flushes: Arc::default(), largest: Arc::default() };
        let store = DeadLetterStore::open(Arc::new(gated.clone()), dir, &Keys::default()).unwrap().0;
        (gated, store)
    }

    /// Runs `act` on another thread, and runs `meanwhile` while `act` waits in a flush.
    fn during_flush(&self, act: impl FnOnce() + Send, meanwhile: impl FnOnce()) {
        std::thread::scope(|scope| {
            let closed = self.gate.write();
            let before = self.flushes.load(Ordering::SeqCst);
            scope.spawn(act);
            while self.flushes.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            meanwhile();
            drop(closed);
        });
    }
}

/// Regression: metrics and status lookups waited for the whole flush.
#[test]
fn only_writers_wait_for_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (gated, store) = BlockingFs::open(dir.path());
    store.add(&[letter(1)]).unwrap();
    gated.during_flush(
        || store.add(&[letter(2)]).unwrap(),
        || {
            assert_eq!((store.len(), store.contains(Lsn(2))), (1, false));
            assert_eq!(store.get(Lsn(1)).unwrap(), Some(DeadEntry::Letter(letter(1))));
            assert_eq!((store.removal(Lsn(1)), store.damage_covering(Lsn(5)).unwrap()), (None, None));
        },
    );
    assert_eq!(store.len(), 2);
}

/// Regression: the whole file was built in memory, under the lock that all callers take.
#[test]
fn a_rewrite_is_incremental_and_does_not_block_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (gated, store) = BlockingFs::open(dir.path());
    (0..100).for_each(|lsn| store.add(&[letter(lsn)]).unwrap());
    (0..60).for_each(|lsn| assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap()));
    gated.largest.store(0, Ordering::SeqCst);
    gated.during_flush(
        || store.maintain().unwrap(),
        || {
            assert_eq!(store.get(Lsn(70)).unwrap(), Some(DeadEntry::Letter(letter(70))));
            assert_eq!(store.len(), 40);
        },
    );
    let largest = gated.largest.load(Ordering::SeqCst);
    assert!((1 << 20..(1 << 20) + 60_000).contains(&largest), "{largest}");
    let (store, trouble) = open(dir.path());
    assert_eq!((store.len(), store.removed().len(), trouble), (40, 60, None));
}

/// Additions and removals during a rewrite are in the new file.
#[test]
fn changes_during_a_rewrite_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    (0..10).for_each(|lsn| store.add(&[letter(lsn)]).unwrap());
    std::thread::scope(|scope| {
        let rewriting = scope.spawn(|| (0..3).for_each(|_| store.compact().unwrap()));
        for lsn in 10.. {
            store.add(&[letter(lsn)]).unwrap();
            assert!(store.remove(Lsn(lsn - 10), Removal::Dropped).unwrap());
            if rewriting.is_finished() {
                break;
            }
        }
    });
    let (len, removed) = (store.lsns(), store.removed());
    assert_eq!(len.len(), 10);
    let (store, trouble) = open(dir.path());
    assert_eq!((store.lsns(), store.removed(), trouble), (len.clone(), removed, None));
    assert_eq!(store.get(len[9]).unwrap(), Some(DeadEntry::Letter(letter(len[9].0))));
}
