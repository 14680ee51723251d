//! The content of the embedded store on disk.
//!
//! Tree `values`: key → expiry (milliseconds since 1970, 8 bytes) and value. Tree `ends`: expiry and key → nothing, to
//! find expired keys. Every write deletes some expired keys, so the store does not grow with them. The store holds a
//! bounded number of keys: if it is full, a new key evicts the one that would expire first.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::IntCounter;

use crate::sync::{Mutex, RwLock};
use crate::units::Timestamp;

use super::super::bucket::Bucket;
use super::super::call::{Call, Op, Reply, SetOutcome, millis};
use super::files::{MIN_REWRITE_BYTES, SledStore};
use super::value_cipher::ValueCipher;

/// Maximum number of keys, of some hundred bytes each.
const MAX_KEYS: usize = 1_000_000;
/// Expired keys deleted per write. More than one, so that a store of expired keys shrinks while it is written to.
const KEYS_PER_SWEEP: usize = 8;
/// Length of the expiry in front of a stored value, in bytes.
const END_LEN: usize = 8;
/// Writes between two checks of the files' size: some megabytes.
const WRITES_PER_SIZE_CHECK: u32 = 4096;

pub(super) struct Trees {
    dir: PathBuf,
    cipher: Option<ValueCipher>,
    /// `None` if the store could not be opened again after a rewrite.
    store: RwLock<Option<SledStore>>,
    max_keys: usize,
    /// Held by the writer.
    writing: Mutex<WriteState>,
    evictions: OnceLock<IntCounter>,
}

struct WriteState {
    /// Number of keys.
    keys: usize,
    /// Writes until the next check of the files' size.
    writes_until_check: u32,
    /// Size of the files, in bytes, from which on they are compared with their content.
    compare_above: u64,
}

impl Trees {
    /// Opens the store in `dir`. With a cipher, its content cannot be read without the secret.
    pub fn open(dir: &Path, seal: Option<ValueCipher>) -> Result<Self, String> {
        let mark = seal.as_ref().map(ValueCipher::fingerprint);
        let mut store = SledStore::open(dir, mark)?;
        if store.is_too_large().map_err(|error| error.to_string())? {
            store = store.rewrite(dir, mark)?;
        }
        let writing = WriteState {
            keys: store.values.len(),
            writes_until_check: WRITES_PER_SIZE_CHECK,
            compare_above: MIN_REWRITE_BYTES,
        };
        Ok(Self {
            dir: dir.to_owned(),
            cipher: seal,
            store: RwLock::new(Some(store)),
            max_keys: MAX_KEYS,
            writing: Mutex::new(writing),
            evictions: OnceLock::new(),
        })
    }

    pub fn count_evictions(&self, counter: IntCounter) {
        // A second counter would have the same value.
        let _ = self.evictions.set(counter);
    }

    pub fn apply(&self, calls: &[Call], now: Timestamp) -> Result<Vec<Reply>, String> {
        calls.iter().map(|call| self.apply_one(call, now)).collect()
    }

    /// Returns when all data is on disk.
    pub fn flush(&self) -> Result<(), String> {
        self.with_store(SledStore::flush)
    }

    fn apply_one(&self, call: &Call, now: Timestamp) -> Result<Reply, String> {
        let key = &*self.stored_key(&call.key);
        if let Op::Get = call.op {
            return self.with_store(|store| Ok(Reply::Value(self.live_value(store, key, now)?)));
        }
        let mut writing = self.writing.lock();
        self.bound_size(&mut writing)?;
        self.with_store(|store| self.change(store, &mut writing.keys, key, &call.op, now))
    }

    fn change(
        &self,
        store: &SledStore,
        keys: &mut usize,
        key: &[u8],
        op: &Op,
        now: Timestamp,
    ) -> sled::Result<Reply> {
        self.sweep(store, keys, now)?;
        let owned = |owner: &[u8]| {
            let live = self.live_value(store, key, now)?;
            Ok::<_, sled::Error>(live.filter(|value| value.starts_with(owner)))
        };
        let mut put = |value: &[u8], ttl| self.put(store, keys, key, value, (now, ttl));
        let changed = match op {
            Op::Get => false,
            Op::Set { value, ttl } => put(value, *ttl)?,
            Op::SetIfAbsent { value, ttl } => {
                let held = match self.live_value(store, key, now)? {
                    None => put(value, *ttl).map(|_| SetOutcome::Owned)?,
                    Some(other) if other == *value => SetOutcome::Owned,
                    Some(other) => SetOutcome::Taken(other),
                };
                return Ok(Reply::Held(held));
            }
            Op::Replace { owner, value, ttl } => owned(owner)?.is_some() && put(value, *ttl)?,
            Op::Refresh { owner, ttl } => match owned(owner)? {
                Some(value) => put(&value, *ttl)?,
                None => false,
            },
            Op::Remove { owner } => owned(owner)?.is_some() && remove_key(store, keys, key)?,
            Op::Delete => remove_key(store, keys, key)?,
            Op::Spend { rate, want, at } => {
                let state = self.live_value(store, key, now)?;
                let mut bucket = state.as_deref().and_then(Bucket::decode).unwrap_or_default();
                let spent = bucket.take_permits(*rate, *want, at.unwrap_or(now.0.saturating_mul(1000)));
                if spent.granted > 0 || want.need <= 0 {
                    put(&bucket.encode(), bucket.lifetime(*rate))?;
                }
                return Ok(Reply::Spent(spent));
            }
        };
        Ok(Reply::Changed(changed))
    }

    /// The key as stored on disk.
    fn stored_key<'a>(&self, key: &'a str) -> Cow<'a, [u8]> {
        match &self.cipher {
            Some(seal) => seal.key(key.as_bytes()).to_vec().into(),
            None => key.as_bytes().into(),
        }
    }

    fn with_store<T>(&self, work: impl FnOnce(&SledStore) -> sled::Result<T>) -> Result<T, String> {
        let store = self.store.read();
        let store = store.as_ref().ok_or("the embedded store could not be reopened")?;
        work(store).map_err(|error| error.to_string())
    }

    /// Rewrites the store when its files have become much larger than their content. Other calls wait meanwhile: for at
    /// most a second, unless there are very many keys.
    fn bound_size(&self, writing: &mut WriteState) -> Result<(), String> {
        writing.writes_until_check = writing.writes_until_check.saturating_sub(1);
        if writing.writes_until_check > 0 {
            return Ok(());
        }
        writing.writes_until_check = WRITES_PER_SIZE_CHECK;
        if self.with_store(SledStore::size)? < writing.compare_above {
            return Ok(());
        }
        if self.with_store(SledStore::is_too_large)? {
            let mut open = self.store.write();
            let mark = self.cipher.as_ref().map(ValueCipher::fingerprint);
            *open = open.take().map(|store| store.rewrite(&self.dir, mark)).transpose()?;
        }
        // A comparison reads the whole store, so the next one waits until the size has doubled.
        writing.compare_above = MIN_REWRITE_BYTES.max(self.with_store(SledStore::size)? * 2);
        Ok(())
    }

    /// The value, unless it has expired.
    fn live_value(&self, store: &SledStore, key: &[u8], now: Timestamp) -> sled::Result<Option<Vec<u8>>> {
        let stored = store.values.get(key)?;
        let live = stored.as_deref().and_then(decode).filter(|(end, _)| *end > now.0);
        Ok(live.and_then(|(_, value)| match &self.cipher {
            Some(seal) => seal.decrypt(key, value),
            None => Some(value.to_owned()),
        }))
    }

    fn put(
        &self,
        store: &SledStore,
        keys: &mut usize,
        key: &[u8],
        value: &[u8],
        (now, ttl): (Timestamp, Duration),
    ) -> sled::Result<bool> {
        let value = match &self.cipher {
            Some(seal) => Cow::from(seal.encrypt(key, value)?),
            None => Cow::from(value),
        };
        if *keys >= self.max_keys && !store.values.contains_key(key)? {
            self.evict_one(store, keys)?;
        }
        let end = now.0.saturating_add(millis(ttl)).to_be_bytes();
        // First, so that every value has an entry that finds it when it expires.
        store.ends.insert([&end, key].concat(), &[])?;
        let before = store.values.insert(key, [&end, &*value].concat())?;
        match before.as_deref().and_then(decode) {
            Some((old, _)) if old.to_be_bytes() != end => {
                store.ends.remove([&old.to_be_bytes(), key].concat())?;
            }
            Some(_) => {}
            None => *keys += 1,
        }
        Ok(true)
    }

    fn sweep(&self, store: &SledStore, keys: &mut usize, now: Timestamp) -> sled::Result<()> {
        for end in store.ends.range(..=now.0.to_be_bytes()).keys().take(KEYS_PER_SWEEP) {
            remove_end(store, keys, &end?)?;
        }
        Ok(())
    }

    fn evict_one(&self, store: &SledStore, keys: &mut usize) -> sled::Result<()> {
        let Some((end, _)) = store.ends.first()? else { return Ok(()) };
        if let Some(evictions) = self.evictions.get() {
            evictions.inc();
        }
        remove_end(store, keys, &end)
    }
}

fn remove_key(store: &SledStore, keys: &mut usize, key: &[u8]) -> sled::Result<bool> {
    let Some(before) = store.values.remove(key)? else { return Ok(false) };
    *keys = keys.saturating_sub(1);
    if let Some((end, _)) = decode(&before) {
        store.ends.remove([&end.to_be_bytes(), key].concat())?;
    }
    Ok(true)
}

/// Removes the key of an entry of `ends`, unless the key's expiry has changed since.
fn remove_end(store: &SledStore, keys: &mut usize, entry: &[u8]) -> sled::Result<()> {
    let (end, key) = entry.split_at(END_LEN.min(entry.len()));
    if store.values.get(key)?.is_some_and(|stored| stored.starts_with(end)) {
        store.values.remove(key)?;
        *keys = keys.saturating_sub(1);
    }
    store.ends.remove(entry)?;
    Ok(())
}

fn decode(stored: &[u8]) -> Option<(u64, &[u8])> {
    let (end, value) = stored.split_first_chunk::<END_LEN>()?;
    Some((u64::from_be_bytes(*end), value))
}

#[cfg(test)]
mod tests {
    use super::super::files::IN_USE;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(key: &str, ttl: Duration) -> Call {
        Call::new(key, Op::Set { value: b"x".to_vec(), ttl })
    }

    fn exists(trees: &Trees, key: &str, now: Timestamp) -> bool {
        trees.with_store(|store| trees.live_value(store, key.as_bytes(), now)).unwrap().is_some()
    }

    fn lengths(trees: &Trees) -> (usize, usize) {
        trees.with_store(|store| Ok((store.values.len(), store.ends.len()))).unwrap()
    }

    #[test]
    fn a_full_store_evicts_the_key_that_expires_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut trees = Trees::open(dir.path(), None).unwrap();
        trees.max_keys = 2;
        let evictions = IntCounter::new("evictions", "of keys").unwrap();
        trees.count_evictions(evictions.clone());
        let now = Timestamp(1);
        trees.apply(&[set("long", HOUR * 3), set("short", HOUR), set("long", HOUR * 3)], now).unwrap();
        assert_eq!(evictions.get(), 0, "two keys fit");
        trees.apply(&[set("middle", HOUR * 2)], now).unwrap();
        assert_eq!(evictions.get(), 1);
        let left: Vec<_> = ["long", "middle", "short"].map(|key| exists(&trees, key, now)).into();
        assert_eq!(left, [true, true, false]);
        assert_eq!(lengths(&trees), (2, 2));
    }

    #[test]
    fn a_value_expires_at_its_instant_not_earlier() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Trees::open(dir.path(), None).unwrap();
        trees.apply(&[set("a", Duration::from_millis(5))], Timestamp(10)).unwrap();
        assert!(exists(&trees, "a", Timestamp(14)));
        assert!(!exists(&trees, "a", Timestamp(15)));
    }

    #[test]
    fn a_store_in_use_is_not_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Trees::open(dir.path(), None).unwrap();
        assert!(Trees::open(dir.path(), None).err().unwrap().contains(IN_USE));
        assert!(!dir.path().join("kv.broken").exists());
        drop(trees);
    }

    #[test]
    fn the_files_stay_bounded_under_many_writes() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Trees::open(dir.path(), None).unwrap();
        let size = || trees.with_store(SledStore::size).unwrap();
        // Each round replaces the previous one, as reservations and cached users do.
        let mut largest = 0;
        for round in 0..120_u64 {
            let value = vec![round as u8; 4000];
            let calls: Vec<_> = (0..250)
                .map(|n| {
                    Call::new(&format!("key-{}-{n}", round % 2), Op::Set { value: value.clone(), ttl: HOUR })
                })
                .collect();
            trees.apply(&calls, Timestamp(round)).unwrap();
            largest = size().max(largest);
        }
        println!("largest {largest}, finally {}", size());
        assert!(largest < MIN_REWRITE_BYTES * 2, "{largest} bytes for 500 keys");
        assert_eq!(lengths(&trees), (500, 500));
    }

    #[test]
    fn an_oversized_store_is_rewritten_without_losing_keys() {
        let dir = tempfile::tempdir().unwrap();
        let seal = || Some(ValueCipher::new(&[3; 32]));
        let trees = Trees::open(dir.path(), seal()).unwrap();
        let calls: Vec<_> = (0..100).map(|n| set(&format!("key-{n}"), HOUR)).collect();
        trees.apply(&calls, Timestamp(1)).unwrap();
        let mut open = trees.store.write();
        let rewritten =
            open.take().unwrap().rewrite(dir.path(), Some(seal().unwrap().fingerprint())).unwrap();
        *open = Some(rewritten);
        drop(open);
        let all = |trees: &Trees| {
            (0..100).all(|n| {
                let get = Call::new(&format!("key-{n}"), Op::Get);
                let replies = trees.apply(&[get], Timestamp(2)).unwrap();
                matches!(&replies[..], [Reply::Value(Some(value))] if value == b"x")
            })
        };
        assert!(all(&trees));
        drop(trees);
        assert!(all(&Trees::open(dir.path(), seal()).unwrap()), "also after a restart");
    }
}
