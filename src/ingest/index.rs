//! Which idempotency keys were used: a bounded view of the log in sled, never more true than the log.
//!
//! Tree `keys`: scope digest → first LSN, count, body digest. Tree `by_lsn`: LSN → scope digest, to forget keys
//! with their segments. `position`: everything below is in the index; it is flushed with what it covers, so a
//! start reads only what came after it. Lost or damaged, the index is moved aside and rebuilt in the background.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crate::command::Envelope;
use crate::wal::Log;
use crate::wal::Lsn;

const DIR: &str = "index";
const BROKEN: &str = "index.broken";
const POSITION: &[u8] = b"position";
/// sled's resident memory is about 3.5 times this.
const CACHE_BYTES: u64 = 16 << 20;
/// A start waits for this many records to be read (a tenth of a second); more are read in the background.
const READ_AT_START: u64 = 100_000;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub first: Lsn,
    pub count: u32,
    pub body: [u8; 16],
}

/// The index cannot say whether a key was used.
#[derive(Debug, thiserror::Error)]
#[error("the index of idempotency keys is being rebuilt")]
pub struct IndexError;

/// What the commit thread asks of an index.
pub(super) trait Keys: Send + Sync {
    /// What is known of a key; nothing if its records are no longer kept.
    fn find(&self, scope: &[u8; 16]) -> Result<Option<Known>, IndexError>;
    /// Adds a key whose records were just flushed.
    fn insert(&self, scope: &[u8; 16], known: Known);
    /// Says that everything below `end` was inserted.
    fn covers(&self, end: Lsn);
    /// Makes it durable, and forgets keys whose records are gone. Blocks for the disk.
    fn keep(&self) -> io::Result<()>;
    /// Ends what it does in the background; the next start takes it up again.
    fn stop(&self);
}

pub(super) struct Index {
    log: Arc<Log>,
    trees: Arc<RwLock<Trees>>,
    ready: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// Everything below is in the trees.
    covered: AtomicU64,
    rebuild: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Trees {
    db: sled::Db,
    keys: sled::Tree,
    by_lsn: sled::Tree,
}

impl Index {
    /// Opens the index of the log and brings it up to the log's end, at once or in the background.
    pub fn open(log: Arc<Log>) -> io::Result<Self> {
        let trees = match open_trees(log.dir()) {
            Ok(trees) => trees,
            Err(error) => {
                tracing::warn!(error, "index.broken: moved aside and rebuilt from the log");
                move_aside(log.dir())?;
                open_trees(log.dir()).map_err(io::Error::other)?
            }
        };
        let position = trees.position().max(log.oldest_kept()).min(log.end());
        let index = Self {
            covered: AtomicU64::new(position.0),
            trees: Arc::new(RwLock::new(trees)),
            ready: Arc::default(),
            stop: Arc::default(),
            rebuild: Mutex::default(),
            log,
        };
        let end = index.log.end();
        let read = Reading {
            log: Arc::clone(&index.log),
            trees: Arc::clone(&index.trees),
            stop: Arc::clone(&index.stop),
        };
        if end.0 - position.0 <= READ_AT_START {
            read.run(position, end);
            index.covered.store(end.0, Ordering::Release);
            index.ready.store(true, Ordering::Release);
            return Ok(index);
        }
        // What is committed from now on is inserted as it comes; only the past is read.
        let ready = Arc::clone(&index.ready);
        let thread = std::thread::Builder::new().name("index".into()).spawn(move || {
            if read.run(position, end) {
                ready.store(true, Ordering::Release);
            }
        })?;
        *index.rebuild.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(index)
    }
}

impl Keys for Index {
    fn find(&self, scope: &[u8; 16]) -> Result<Option<Known>, IndexError> {
        if !self.ready.load(Ordering::Acquire) {
            return Err(IndexError);
        }
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        let found = trees.keys.get(scope).map_err(|_| IndexError)?;
        let known = found.and_then(|bytes| Known::decode(&bytes));
        Ok(known.filter(|known| self.log.keeps(known.first)))
    }

    fn insert(&self, scope: &[u8; 16], known: Known) {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        if trees.insert(scope, known).is_err() {
            // From now on it cannot be trusted; the next start rebuilds it from the last position.
            self.ready.store(false, Ordering::Release);
        }
    }

    fn covers(&self, end: Lsn) {
        if self.ready.load(Ordering::Acquire) {
            self.covered.fetch_max(end.0, Ordering::AcqRel);
        }
    }

    fn keep(&self) -> io::Result<()> {
        if !self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let covered = self.covered.load(Ordering::Acquire);
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner).clone();
        trees.forget_below(self.log.oldest_kept())?;
        trees.db.insert(POSITION, &covered.to_be_bytes())?;
        trees.db.flush()?;
        Ok(())
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let thread = self.rebuild.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported where it happened; the index is rebuilt at the next start.
            let _ = thread.join();
        }
    }
}

/// Reads keys from records that were committed before this start.
struct Reading {
    log: Arc<Log>,
    trees: Arc<RwLock<Trees>>,
    stop: Arc<AtomicBool>,
}

impl Reading {
    /// Whether it came to its end.
    fn run(&self, from: Lsn, end: Lsn) -> bool {
        let mut cursor = self.log.cursor(from);
        loop {
            match cursor.next_kept() {
                Ok(Some(frame)) if frame.lsn < end && !self.stop.load(Ordering::Acquire) => {
                    let Ok(envelope) = Envelope::decode(frame.payload) else { continue };
                    let Some(repeat) = envelope.repeat else { continue };
                    let known = Known { first: frame.lsn, count: repeat.count, body: repeat.body };
                    let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
                    if trees.insert(&repeat.scope, known).is_err() {
                        return false;
                    }
                }
                Ok(_) => return !self.stop.load(Ordering::Acquire),
                Err(error) => {
                    tracing::error!(%error, "index.rebuild: the log cannot be read");
                    return false;
                }
            }
        }
    }
}

impl Trees {
    fn position(&self) -> Lsn {
        let stored = self.db.get(POSITION).ok().flatten();
        stored.and_then(|bytes| Some(Lsn(u64::from_be_bytes(bytes[..].try_into().ok()?)))).unwrap_or_default()
    }

    fn insert(&self, scope: &[u8; 16], known: Known) -> sled::Result<()> {
        self.keys.insert(scope, &known.encode())?;
        self.by_lsn.insert(known.first.0.to_be_bytes(), scope)?;
        Ok(())
    }

    fn forget_below(&self, oldest: Lsn) -> sled::Result<()> {
        for entry in self.by_lsn.range(..oldest.0.to_be_bytes()) {
            let (lsn, scope) = entry?;
            let newer = self
                .keys
                .get(&scope)?
                .and_then(|bytes| Known::decode(&bytes))
                .is_some_and(|k| k.first >= oldest);
            if !newer {
                self.keys.remove(&scope)?;
            }
            self.by_lsn.remove(lsn)?;
        }
        Ok(())
    }
}

impl Known {
    fn encode(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        bytes[12..].copy_from_slice(&self.body);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk::<8>()?;
        let (count, body) = rest.split_first_chunk::<4>()?;
        let body = body.try_into().ok()?;
        Some(Self { first: Lsn(u64::from_be_bytes(*first)), count: u32::from_be_bytes(*count), body })
    }
}

/// sled 0.34 may panic on a damaged file: that, too, only means that it is rebuilt.
fn open_trees(dir: &Path) -> Result<Trees, String> {
    let path = dir.join(DIR);
    let open = AssertUnwindSafe(|| -> sled::Result<Trees> {
        let db = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        Ok(Trees { keys: db.open_tree("keys")?, by_lsn: db.open_tree("by_lsn")?, db })
    });
    match std::panic::catch_unwind(open) {
        Ok(opened) => opened.map_err(|e| e.to_string()),
        Err(_) => Err("sled panicked while it opened the index".to_owned()),
    }
}

fn move_aside(dir: &Path) -> io::Result<()> {
    let broken = dir.join(BROKEN);
    match std::fs::remove_dir_all(&broken) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::rename(dir.join(DIR), broken)
}
