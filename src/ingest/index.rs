//! Which idempotency keys were used and which claims were accepted: a bounded view of the log in sled, never more true
//! than the log.
//!
//! Tree `keys`: scope digest → first LSN, count, body digest; a claim is a key of one record with an empty digest.
//! Tree `by_lsn`: LSN (and a 1 for a claim) → scope digest, to forget keys with their segments. `position`: everything
//! below is in the index; it is flushed with what it covers, so a start reads only what came after it. Lost or damaged,
//! the index is moved aside and rebuilt in the background.

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

use super::request::Digests;
use crate::command::Envelope;
use crate::command::Repeat;
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

/// What leads to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The key of a request, on its first record.
    Key { scope: [u8; 16], count: u32, body: [u8; 16] },
    /// The claim of a record.
    Claim { scope: [u8; 16] },
}

impl Mark {
    pub fn of_key(repeat: &Repeat) -> Self {
        Self::Key { scope: repeat.scope, count: repeat.count, body: repeat.body }
    }

    /// All that lead to a record with this envelope.
    fn all(envelope: &Envelope<'_>, digests: &Digests) -> impl Iterator<Item = Self> {
        let key = envelope.repeat.as_ref().map(Self::of_key);
        let claim = envelope.claim.map(|claim| Self::Claim { scope: digests.of_claim(&claim) });
        key.into_iter().chain(claim)
    }

    pub fn scope(&self) -> &[u8; 16] {
        match self {
            Self::Key { scope, .. } | Self::Claim { scope } => scope,
        }
    }

    /// What is known once the record `first` is flushed.
    pub fn known(&self, first: Lsn) -> Known {
        match *self {
            Self::Key { count, body, .. } => Known { first, count, body },
            Self::Claim { .. } => Known { first, count: 1, body: [0; 16] },
        }
    }

    /// Under which it is forgotten with its segment. A record may have a key and a claim.
    fn place(&self, first: Lsn) -> Vec<u8> {
        let mut place = first.0.to_be_bytes().to_vec();
        if let Self::Claim { .. } = self {
            place.push(1);
        }
        place
    }
}

/// The index cannot say whether a key was used.
#[derive(Debug, thiserror::Error)]
#[error("the index of idempotency keys is being rebuilt")]
pub struct IndexError;

/// What the commit thread asks of an index.
pub(super) trait Keys: Send + Sync {
    /// What is known of a key or claim; nothing if its records are no longer kept.
    fn find(&self, scope: &[u8; 16]) -> Result<Option<Known>, IndexError>;
    /// Adds a key or claim whose records, from `first` on, were just flushed.
    fn insert(&self, mark: &Mark, first: Lsn);
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
            digests: Digests::new(&index.log.identity().secret),
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

    fn insert(&self, mark: &Mark, first: Lsn) {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        if trees.insert(mark, first).is_err() {
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

/// Reads keys and claims from records that were committed before this start.
struct Reading {
    digests: Digests,
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
                    let lsn = frame.lsn;
                    let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
                    for mark in Mark::all(&envelope, &self.digests) {
                        if trees.insert_past(&mark, lsn).is_err() {
                            return false;
                        }
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

    fn insert(&self, mark: &Mark, first: Lsn) -> sled::Result<()> {
        self.keys.insert(mark.scope(), &mark.known(first).encode())?;
        self.by_lsn.insert(mark.place(first), mark.scope())?;
        Ok(())
    }

    /// The same for a record of before this start, unless a later one of this start is known: a requeued record has
    /// the claim of its dead letter.
    fn insert_past(&self, mark: &Mark, first: Lsn) -> sled::Result<()> {
        let known = self.keys.get(mark.scope())?.and_then(|bytes| Known::decode(&bytes));
        match known {
            Some(known) if known.first > first => Ok(()),
            _ => self.insert(mark, first),
        }
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
