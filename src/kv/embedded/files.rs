//! The embedded store's files: opening them, quarantining damaged ones, and rewriting those that have grown too large.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::{fs, io};

const DIR: &str = "kv";
const BROKEN: &str = "kv.broken";
/// Directory of a store while it is being rewritten.
const NEW: &str = "kv.new";
/// Key, in the default tree, of the fingerprint of the store's secret.
const SECRET_MARK: &[u8] = b"mark";
/// sled's error text for a store in use. sled has no error code for it.
pub const IN_USE: &str = "could not acquire lock";
/// Size of sled's cache. Its resident memory is about 3.5 times this.
const CACHE_BYTES: u64 = 16 << 20;
/// Only the service user may access the store.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Below this size the store is not rewritten.
pub const MIN_REWRITE_BYTES: u64 = 64 << 20;
/// sled does not shrink its file. A store this many times larger than its content is rewritten.
const MAX_SIZE_RATIO: u64 = 4;

/// An open store.
pub struct SledStore {
    pub values: sled::Tree,
    pub ends: sled::Tree,
    /// Last, so that it is dropped after the trees, which belong to it.
    db: sled::Db,
}

impl SledStore {
    /// Opens the store in `dir`. Damaged files are moved aside. A store with another secret, or with the other
    /// encryption setting, is removed: its content would be unreadable, or readable by everyone.
    pub fn open(dir: &Path, mark: Option<[u8; 32]>) -> Result<Self, String> {
        let at = |error: io::Error| format!("{}: {error}", dir.display());
        make_private(dir).map_err(at)?;
        remove(&dir.join(NEW)).map_err(at)?;
        if mark.is_some() {
            // The moved store may date from before encryption was turned on.
            remove(&dir.join(BROKEN)).map_err(at)?;
        }
        let store = match open(&dir.join(DIR)) {
            // The store is not damaged: another process uses it.
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

    /// Returns when the written data is on disk.
    pub fn flush(&self) -> sled::Result<()> {
        self.db.flush().map(drop)
    }

    /// Size of the files in bytes.
    pub fn size(&self) -> sled::Result<u64> {
        self.db.size_on_disk()
    }

    /// Whether the files are much larger than their content.
    pub fn is_too_large(&self) -> sled::Result<bool> {
        let mut live = 0;
        for entry in self.values.iter().chain(self.ends.iter()) {
            let (key, value) = entry?;
            live += (key.len() + value.len()) as u64;
        }
        Ok(self.size()? > MIN_REWRITE_BYTES.max(live * MAX_SIZE_RATIO))
    }

    /// Rewrites the store in `dir` with its current content only. Existing handles must not be used afterwards.
    pub fn rewrite(self, dir: &Path, mark: Option<[u8; 32]>) -> Result<Self, String> {
        let (before, new) = (self.size(), dir.join(NEW));
        let copied = remove(&new).map_err(|error| error.to_string()).and_then(|()| self.copy_to(&new, mark));
        drop(self);
        if let Err(error) = copied {
            tracing::warn!(
                event = "kv.rewrite_failed",
                error,
                "embedded store could not be rewritten and keeps its size"
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

/// Opens the store. sled 0.34 may panic on a damaged file: then the store starts empty, too.
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

/// Creates the directory if it is missing, and restricts it and its files to the service user. The directory's mode
/// also protects files that sled adds later.
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
