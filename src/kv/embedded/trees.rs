//! What stands on disk. Tree `values`: key → when it ends (milliseconds since 1970, 8 bytes) and value. Tree `ends`:
//! when and key → nothing, to find what is over. Every write sweeps some of that out, so that the store does not grow
//! with what is gone; and it holds a bounded number of keys: for one more, the one that would end first is given up.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus::IntCounter;

use crate::units::Timestamp;

use super::super::bucket::Bucket;
use super::super::call::Call;
use super::super::call::Held;
use super::super::call::Op;
use super::super::call::Reply;
use super::super::call::millis;

const DIR: &str = "kv";
const BROKEN: &str = "kv.broken";
/// sled's words for that; it has no error of its own for it.
const IN_USE: &str = "could not acquire lock";
/// sled's resident memory is about 3.5 times this.
const CACHE_BYTES: u64 = 16 << 20;
/// Some hundred bytes each.
const MAX_KEYS: usize = 1_000_000;
/// More than one, so that a store of dead keys gets smaller while it is written to.
const SWEEP: usize = 8;
/// Of a stored value, before the value itself.
const END_LEN: usize = 8;

pub(super) struct Trees {
    /// Last to go: the trees are of it.
    _db: sled::Db,
    values: sled::Tree,
    ends: sled::Tree,
    max_keys: usize,
    /// Who writes holds this; inside, how many keys there are.
    writing: Mutex<usize>,
    evictions: OnceLock<IntCounter>,
}

impl Trees {
    pub fn open(dir: &Path) -> Result<Self, String> {
        match Self::open_at_all(dir) {
            // Nothing is wrong with it: somebody else uses it.
            Err(error) if error.contains(IN_USE) => Err(error),
            Err(error) => {
                tracing::warn!(error, "kv.broken: moved aside, and begun empty");
                move_aside(dir).map_err(|error| format!("{}: {error}", dir.join(DIR).display()))?;
                Self::open_at_all(dir)
            }
            opened => opened,
        }
    }

    /// sled 0.34 may panic on a damaged file: that, too, only means that it begins empty.
    fn open_at_all(dir: &Path) -> Result<Self, String> {
        let path = dir.join(DIR);
        let open = AssertUnwindSafe(|| -> sled::Result<Self> {
            let db = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).open()?;
            let (values, ends) = (db.open_tree("values")?, db.open_tree("ends")?);
            let keys = values.len();
            let (writing, evictions) = (Mutex::new(keys), OnceLock::new());
            Ok(Self { _db: db, values, ends, max_keys: MAX_KEYS, writing, evictions })
        });
        match std::panic::catch_unwind(open) {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(_) => Err("sled panicked while it opened the store".to_owned()),
        }
    }

    pub fn count_evictions(&self, counter: IntCounter) {
        // A second one counts the same.
        let _ = self.evictions.set(counter);
    }

    pub fn apply(&self, calls: &[Call], now: Timestamp) -> sled::Result<Vec<Reply>> {
        calls.iter().map(|call| self.answer(call, now)).collect()
    }

    fn answer(&self, call: &Call, now: Timestamp) -> sled::Result<Reply> {
        let key = call.key.as_bytes();
        if let Op::Get = call.op {
            return Ok(Reply::Value(self.live(key, now)?));
        }
        let mut keys = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut keys, now)?;
        let owned = |owner: &[u8]| {
            let live = self.live(key, now)?;
            Ok::<_, sled::Error>(live.filter(|value| value.starts_with(owner)))
        };
        let changed = match &call.op {
            Op::Get => false,
            Op::Set { value, ttl } => self.put(&mut keys, key, value, now, *ttl)?,
            Op::SetIfAbsent { value, ttl } => {
                let held = match self.live(key, now)? {
                    None => self.put(&mut keys, key, value, now, *ttl).map(|_| Held::Ours)?,
                    Some(other) if other == *value => Held::Ours,
                    Some(other) => Held::Other(other),
                };
                return Ok(Reply::Held(held));
            }
            Op::Replace { owner, value, ttl } => match owned(owner)? {
                Some(_) => self.put(&mut keys, key, value, now, *ttl)?,
                None => false,
            },
            Op::Refresh { owner, ttl } => match owned(owner)? {
                Some(value) => self.put(&mut keys, key, &value, now, *ttl)?,
                None => false,
            },
            Op::Remove { owner } => owned(owner)?.is_some() && self.take(&mut keys, key)?,
            Op::Delete => self.take(&mut keys, key)?,
            Op::Spend { rate, want, at } => {
                let state = self.live(key, now)?;
                let mut bucket = state.as_deref().and_then(Bucket::decode).unwrap_or_default();
                let spent = bucket.spend(*rate, *want, at.unwrap_or(now.0.saturating_mul(1000)));
                if spent.granted > 0 || want.need <= 0 {
                    self.put(&mut keys, key, &bucket.encode(), now, bucket.lifetime(*rate))?;
                }
                return Ok(Reply::Spent(spent));
            }
        };
        Ok(Reply::Changed(changed))
    }

    /// The value, unless its time is over.
    fn live(&self, key: &[u8], now: Timestamp) -> sled::Result<Option<Vec<u8>>> {
        let stored = self.values.get(key)?;
        let live = stored.as_deref().and_then(decode).filter(|(end, _)| *end > now.0);
        Ok(live.map(|(_, value)| value.to_owned()))
    }

    fn put(
        &self,
        keys: &mut usize,
        key: &[u8],
        value: &[u8],
        now: Timestamp,
        ttl: Duration,
    ) -> sled::Result<bool> {
        if *keys >= self.max_keys && !self.values.contains_key(key)? {
            self.give_one_up(keys)?;
        }
        let end = now.0.saturating_add(millis(ttl)).to_be_bytes();
        // First, so that no value is without an end that finds it.
        self.ends.insert([&end, key].concat(), &[])?;
        let before = self.values.insert(key, [&end, value].concat())?;
        match before.as_deref().and_then(decode) {
            Some((old, _)) if old.to_be_bytes() != end => {
                self.ends.remove([&old.to_be_bytes(), key].concat())?;
            }
            Some(_) => {}
            None => *keys += 1,
        }
        Ok(true)
    }

    fn take(&self, keys: &mut usize, key: &[u8]) -> sled::Result<bool> {
        let Some(before) = self.values.remove(key)? else { return Ok(false) };
        *keys = keys.saturating_sub(1);
        if let Some((end, _)) = decode(&before) {
            self.ends.remove([&end.to_be_bytes(), key].concat())?;
        }
        Ok(true)
    }

    fn sweep(&self, keys: &mut usize, now: Timestamp) -> sled::Result<()> {
        for end in self.ends.range(..=now.0.to_be_bytes()).keys().take(SWEEP) {
            self.end(keys, &end?)?;
        }
        Ok(())
    }

    fn give_one_up(&self, keys: &mut usize) -> sled::Result<()> {
        let Some((end, _)) = self.ends.first()? else { return Ok(()) };
        if let Some(evictions) = self.evictions.get() {
            evictions.inc();
        }
        self.end(keys, &end)
    }

    /// Removes what an entry of `ends` stands for, unless it got another end since.
    fn end(&self, keys: &mut usize, entry: &[u8]) -> sled::Result<()> {
        let (end, key) = entry.split_at(END_LEN.min(entry.len()));
        if self.values.get(key)?.is_some_and(|stored| stored.starts_with(end)) {
            self.values.remove(key)?;
            *keys = keys.saturating_sub(1);
        }
        self.ends.remove(entry)?;
        Ok(())
    }
}

fn decode(stored: &[u8]) -> Option<(u64, &[u8])> {
    let (end, value) = stored.split_first_chunk::<END_LEN>()?;
    Some((u64::from_be_bytes(*end), value))
}

fn move_aside(dir: &Path) -> io::Result<()> {
    let broken = dir.join(BROKEN);
    match std::fs::remove_dir_all(&broken) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::rename(dir.join(DIR), broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(key: &str, ttl: Duration) -> Call {
        Call::new(key, Op::Set { value: b"x".to_vec(), ttl })
    }

    fn there(trees: &Trees, key: &str, now: Timestamp) -> bool {
        trees.live(key.as_bytes(), now).unwrap().is_some()
    }

    #[test]
    fn a_full_store_gives_up_what_would_end_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut trees = Trees::open(dir.path()).unwrap();
        trees.max_keys = 2;
        let evictions = IntCounter::new("evictions", "of keys").unwrap();
        trees.count_evictions(evictions.clone());
        let now = Timestamp(1);
        trees.apply(&[set("long", HOUR * 3), set("short", HOUR), set("long", HOUR * 3)], now).unwrap();
        assert_eq!(evictions.get(), 0, "there is room for two");
        trees.apply(&[set("middle", HOUR * 2)], now).unwrap();
        assert_eq!(evictions.get(), 1);
        let left: Vec<_> = ["long", "middle", "short"].map(|key| there(&trees, key, now)).into();
        assert_eq!(left, [true, true, false]);
        assert_eq!((trees.values.len(), trees.ends.len()), (2, 2));
    }

    #[test]
    fn a_value_ends_at_its_instant_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Trees::open(dir.path()).unwrap();
        trees.apply(&[set("a", Duration::from_millis(5))], Timestamp(10)).unwrap();
        assert!(there(&trees, "a", Timestamp(14)));
        assert!(!there(&trees, "a", Timestamp(15)));
    }

    #[test]
    fn a_store_in_use_is_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Trees::open(dir.path()).unwrap();
        assert!(Trees::open(dir.path()).err().unwrap().contains(IN_USE));
        assert!(!dir.path().join(BROKEN).exists());
        drop(trees);
    }
}
