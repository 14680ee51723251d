//! The store's files: opening them, and what is done with those that cannot be used or have grown too large.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::{fs, io};

const DIR: &str = "kv";
const BROKEN: &str = "kv.broken";
/// A store that is being written anew.
const NEW: &str = "kv.new";
/// What the default tree says of the secret that the store is sealed under.
const SECRET_MARK: &[u8] = b"mark";
/// sled's words for that; it has no error of its own for it.
pub const IN_USE: &str = "could not acquire lock";
/// sled's resident memory is about 3.5 times this.
const CACHE_BYTES: u64 = 16 << 20;
/// The store is the service user's alone.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Below this size nothing is written anew.
pub const MIN_REWRITE_BYTES: u64 = 64 << 20;
/// sled does not shrink its file. A store this many times larger than what it holds is written anew.
const MAX_SIZE_RATIO: u64 = 4;

/// An open store.
pub struct SledStore {
    pub values: sled::Tree,
    pub ends: sled::Tree,
    /// Last to go: the trees are of it.
    db: sled::Db,
}

impl SledStore {
    /// Opens the store in `dir`. What is damaged is moved aside. A store sealed under another secret, or not sealed as
    /// this one is to be, is removed: nothing in it could be read, or everything.
    pub fn open(dir: &Path, mark: Option<[u8; 32]>) -> Result<Self, String> {
        let at = |error: io::Error| format!("{}: {error}", dir.display());
        make_private(dir).map_err(at)?;
        remove(&dir.join(NEW)).map_err(at)?;
        if mark.is_some() {
            // It may have been written before encryption was turned on.
            remove(&dir.join(BROKEN)).map_err(at)?;
        }
        let store = match open(&dir.join(DIR)) {
            // Nothing is wrong with it: somebody else uses it.
            Err(error) if error.contains(IN_USE) => return Err(error),
            Err(error) => {
                tracing::warn!(event = "kv.damaged", error, "embedded store is damaged; it starts empty");
                move_aside(dir, mark.is_some()).map_err(at)?;
                open(&dir.join(DIR))?
            }
            Ok(store) if store.is_sealed_under(mark) => store,
            Ok(store) => {
                drop(store);
                tracing::info!(
                    event = "kv.removed",
                    "embedded store has another encryption key; it starts empty"
                );
                remove(&dir.join(DIR)).map_err(at)?;
                open(&dir.join(DIR))?
            }
        };
        store.set_mark(mark).map_err(|error| error.to_string())?;
        make_private(&dir.join(DIR)).map_err(at)?;
        Ok(store)
    }

    fn is_sealed_under(&self, mark: Option<[u8; 32]>) -> bool {
        let found = self.db.get(SECRET_MARK).ok().flatten();
        let empty = found.is_none() && self.values.is_empty();
        empty || found.as_deref() == mark.as_ref().map(|mark| &mark[..])
    }

    fn set_mark(&self, mark: Option<[u8; 32]>) -> sled::Result<()> {
        if let Some(mark) = mark {
            self.db.insert(SECRET_MARK, &mark)?;
            self.db.flush()?;
        }
        Ok(())
    }

    /// Returns when the disk has what was written to it.
    pub fn flush(&self) -> sled::Result<()> {
        self.db.flush().map(drop)
    }

    /// Bytes of its files.
    pub fn size(&self) -> sled::Result<u64> {
        self.db.size_on_disk()
    }

    /// Whether its files are much larger than what it holds.
    pub fn is_too_large(&self) -> sled::Result<bool> {
        let mut live = 0;
        for entry in self.values.iter().chain(self.ends.iter()) {
            let (key, value) = entry?;
            live += (key.len() + value.len()) as u64;
        }
        Ok(self.size()? > MIN_REWRITE_BYTES.max(live * MAX_SIZE_RATIO))
    }

    /// Writes the store in `dir` anew: what it holds and nothing else. Its handles must not be used any more.
    pub fn rewrite(self, dir: &Path, mark: Option<[u8; 32]>) -> Result<Self, String> {
        let (before, new) = (self.size(), dir.join(NEW));
        let copied = remove(&new).map_err(|error| error.to_string()).and_then(|()| self.copy_to(&new, mark));
        drop(self);
        if let Err(error) = copied {
            tracing::warn!(
                event = "kv.rewrite_failed",
                error,
                "embedded store not rewritten; it keeps its size"
            );
        } else {
            let replaced = remove(&dir.join(DIR)).and_then(|()| fs::rename(&new, dir.join(DIR)));
            replaced.map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let store = Self::open(dir, mark)?;
        if let (Ok(before), Ok(after)) = (before, store.size()) {
            tracing::info!(
                event = "kv.rewritten",
                kv.bytes_before = before,
                kv.bytes_after = after,
                "embedded store rewritten"
            );
        }
        Ok(store)
    }

    fn copy_to(&self, path: &Path, mark: Option<[u8; 32]>) -> Result<(), String> {
        let new = open(path)?;
        let copy = || {
            for (from, to) in [(&self.values, &new.values), (&self.ends, &new.ends)] {
                for entry in from.iter() {
                    let (key, value) = entry?;
                    to.insert(key, value)?;
                }
            }
            new.set_mark(mark)?;
            new.db.flush()
        };
        copy().map(drop).map_err(|error: sled::Error| error.to_string())
    }
}

/// sled 0.34 may panic on a damaged file: that, too, only means that it begins empty.
fn open(path: &Path) -> Result<SledStore, String> {
    let open = AssertUnwindSafe(|| -> sled::Result<SledStore> {
        let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open()?;
        Ok(SledStore { values: db.open_tree("values")?, ends: db.open_tree("ends")?, db })
    });
    match std::panic::catch_unwind(open) {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked while it opened the store".to_owned()),
    }
}

/// A directory and its files, for the service user only. Missing: made. What sled adds to it later lies behind its
/// mode.
fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() { DIR_MODE } else { FILE_MODE };
        fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn move_aside(dir: &Path, sealed: bool) -> io::Result<()> {
    if sealed {
        return remove(&dir.join(DIR));
    }
    remove(&dir.join(BROKEN))?;
    fs::rename(dir.join(DIR), dir.join(BROKEN))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
