//! The dead-letter store: one append-only file of entries, durable before any position passes their records.
//!
//! `dead/letters`: 32 bytes of head (magic `forebayd`, version, zero, salt), then frames as in a segment. A
//! frame's LSN is the letter's; its payload is the length of a JSON head (four bytes), the head, and for a letter
//! the record, whole. A removal is an entry too. When removed entries are most of the file it is rewritten.
//! A start rewrites what no later entry's promise covers, and cuts what is no entry off, a copy aside.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use super::frame;
use super::frame::Meta;
use super::frame::Seed;
use super::fs;
use super::fs::File;
use super::fs::Fs;
use super::fs::Mode;
use super::header::array;
use super::ledger::Ledger;
use super::random;
use super::scan::Scanner;
use super::types::Letter;
use crate::units::Lsn;
use crate::units::Timestamp;

/// The directory in the log's.
pub const DIR: &str = "dead";
const FILE: &str = "letters";
/// The store's file in the log's directory, as findings name it.
pub const NAME: &str = "dead/letters";
const MAGIC: [u8; 8] = *b"forebayd";
const VERSION: u32 = 1;
const HEAD: u64 = 32;
/// Below this a rewrite saves nothing worth the flushes.
const REWRITE_FROM: u64 = 1 << 20;
/// What was read at the start is rewritten in pieces of this size.
const PIECE: usize = 1 << 20;

/// A range of records that could not be read: a dead letter without its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// First record of the range.
    pub lsn_from: u64,
    /// Last record of the range.
    pub lsn_to: u64,
    /// File name of the segment.
    pub segment: String,
    /// What was found.
    pub reason: String,
    /// When.
    pub found_at: Timestamp,
}

/// An entry of the store as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dead {
    /// A record the broker would not take.
    Letter(Letter),
    /// Records that could not be read.
    Damage(Damage),
}

/// How a letter left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An operator gave it up.
    Dropped,
    /// It lies in the log again under this number.
    Requeued(Lsn),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
enum Head {
    Letter { accepted_at: Timestamp, died_at: Timestamp, reason: String, attempts: u32 },
    Damage(Damage),
    Removed { requeued_as: Option<u64> },
}

struct Inner {
    file: Arc<dyn File>,
    seed: Seed,
    end: u64,
    /// Offset and size of each entry that is not removed.
    entries: BTreeMap<Lsn, (u64, usize)>,
    removed: BTreeMap<Lsn, Removal>,
    live_bytes: u64,
    /// Everything below was flushed, by the word of the last entry that could be read.
    promised: u64,
    /// A failed flush is final here too: what it left in the page cache cannot be trusted.
    broken: bool,
}

/// The store.
pub struct DeadLetters {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    inner: Mutex<Inner>,
}

impl DeadLetters {
    /// Opens the store of the log in `dir`, making it if missing. Says what of it could not be read.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> io::Result<(Self, Option<String>)> {
        let path = dir.join(DIR).join(FILE);
        let file = match fs.open(&path, Mode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::replace_file(&*fs, &path, &head(&random()?))?;
                fs.open(&path, Mode::Write)?
            }
            opened => opened?,
        };
        let (inner, trouble) = load(file)?;
        inner.make_durable(&*fs, dir)?;
        Ok((Self { fs, path, inner: Mutex::new(inner) }, trouble))
    }

    /// The same without the right to write; `None` when there is no store.
    pub fn open_to_read(fs: Arc<dyn Fs>, dir: &Path) -> io::Result<Option<(Self, Option<String>)>> {
        let path = dir.join(DIR).join(FILE);
        match fs.open(&path, Mode::Read) {
            Ok(file) => {
                let (inner, trouble) = load(file)?;
                Ok(Some((Self { fs, path, inner: Mutex::new(inner) }, trouble)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Stores letters, durably. On an error none of them counts as stored.
    pub fn add(&self, letters: &[Letter]) -> io::Result<()> {
        let entries = letters.iter().map(|letter| {
            let head = Head::Letter {
                accepted_at: letter.accepted_at,
                died_at: letter.died_at,
                reason: letter.reason.clone(),
                attempts: letter.attempts,
            };
            (letter.lsn, head, &letter.payload[..])
        });
        self.append(&mut self.lock(), entries)
    }

    /// Stores a damaged range, durably.
    pub fn add_damage(&self, damage: Damage) -> io::Result<()> {
        let lsn = Lsn(damage.lsn_from);
        self.append(&mut self.lock(), [(lsn, Head::Damage(damage), &[][..])])
    }

    /// Removes an entry, durably. Says whether it was there.
    pub fn remove(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        let mut inner = self.lock();
        if !inner.entries.contains_key(&lsn) {
            return Ok(false);
        }
        let requeued_as = match removal {
            Removal::Dropped => None,
            Removal::Requeued(lsn) => Some(lsn.0),
        };
        self.append(&mut inner, [(lsn, Head::Removed { requeued_as }, &[][..])])?;
        if inner.end > REWRITE_FROM && inner.live_bytes < inner.end / 2 {
            self.rewrite(&mut inner)?;
        }
        Ok(true)
    }

    /// One entry; `None` when it is not here.
    pub fn get(&self, lsn: Lsn) -> io::Result<Option<Dead>> {
        read_entry(&self.lock(), lsn)
    }

    /// Whether the entry is here.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.lock().entries.contains_key(&lsn)
    }

    /// How the entry left the store, if it was here.
    pub fn removal(&self, lsn: Lsn) -> Option<Removal> {
        self.lock().removed.get(&lsn).copied()
    }

    /// The LSNs of all entries, oldest record first.
    pub fn lsns(&self) -> Vec<Lsn> {
        self.lock().entries.keys().copied().collect()
    }

    /// The LSNs of records that were here and left.
    pub fn removed(&self) -> Vec<Lsn> {
        self.lock().removed.keys().copied().collect()
    }

    /// Marks every record that is or was here as done: it is never sent, whatever the checkpoint says.
    pub(super) fn mark_in(&self, ledger: &mut Ledger) -> io::Result<()> {
        for lsn in self.lsns() {
            let to = match self.get(lsn)? {
                Some(Dead::Damage(damage)) => Lsn(damage.lsn_to),
                _ => lsn,
            };
            ledger.mark_all(lsn, to);
        }
        for lsn in self.removed() {
            ledger.mark(lsn, 0);
        }
        Ok(())
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.lock().entries.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append<'a>(
        &self,
        inner: &mut Inner,
        entries: impl IntoIterator<Item = (Lsn, Head, &'a [u8])>,
    ) -> io::Result<()> {
        if inner.broken {
            return Err(io::Error::other("an earlier flush of the dead-letter store failed"));
        }
        let mut bytes = Vec::new();
        let mut added = Vec::new();
        for (lsn, head, record) in entries {
            let offset = inner.end + bytes.len() as u64;
            let len = encode(&mut bytes, &inner.seed, offset, inner.end, lsn, &head, record)?;
            added.push((lsn, head, (offset, len)));
        }
        inner.file.write_all_at(&bytes, inner.end)?;
        if let Err(e) = inner.file.sync_data() {
            inner.broken = true;
            return Err(e);
        }
        inner.end += bytes.len() as u64;
        for (lsn, head, place) in added {
            inner.apply(lsn, &head, place);
        }
        Ok(())
    }

    /// Writes the store anew, without what cannot be read and without what was removed.
    pub(super) fn compact(&self) -> io::Result<()> {
        self.rewrite(&mut self.lock())
    }

    fn rewrite(&self, inner: &mut Inner) -> io::Result<()> {
        let salt = random()?;
        let seed = Seed::new(&salt);
        let mut bytes = head(&salt);
        for lsn in inner.entries.keys().copied().collect::<Vec<_>>() {
            let (head, record) = match read_entry(inner, lsn)? {
                Some(Dead::Letter(letter)) => (
                    Head::Letter {
                        accepted_at: letter.accepted_at,
                        died_at: letter.died_at,
                        reason: letter.reason,
                        attempts: letter.attempts,
                    },
                    letter.payload,
                ),
                Some(Dead::Damage(damage)) => (Head::Damage(damage), Vec::new()),
                // Unreadable: keep the file as it is, nothing is lost by its size.
                None => return Ok(()),
            };
            let offset = bytes.len() as u64;
            encode(&mut bytes, &seed, offset, 0, lsn, &head, &record)?;
        }
        for (&lsn, removal) in &inner.removed {
            let requeued_as = match removal {
                Removal::Dropped => None,
                Removal::Requeued(as_lsn) => Some(as_lsn.0),
            };
            let offset = bytes.len() as u64;
            encode(&mut bytes, &seed, offset, 0, lsn, &Head::Removed { requeued_as }, &[])?;
        }
        fs::replace_file(&*self.fs, &self.path, &bytes)?;
        let (fresh, _) = load(self.fs.open(&self.path, Mode::Write)?)?;
        *inner = fresh;
        Ok(())
    }
}

impl Inner {
    /// Rewrites what was read and never promised, because after a failed flush the next life reads what never
    /// reached the disk; keeps what lies behind the last entry aside, and cuts it off.
    fn make_durable(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let size = self.file.size()?;
        let mut piece = vec![0; PIECE];
        if size > self.end {
            let mut torn = vec![0; (size - self.end) as usize];
            fs::read_full(&*self.file, &mut torn, self.end)?;
            let name = format!("{FILE}-{}.torn", self.end);
            fs::replace_file(fs, &dir.join(super::quarantine::DIR).join(name), &torn)?;
        }
        let mut at = self.promised.min(self.end);
        while at < self.end {
            let want = PIECE.min((self.end - at) as usize);
            let got = fs::read_full(&*self.file, &mut piece[..want], at)?;
            self.file.write_all_at(&piece[..got], at)?;
            at += want as u64;
        }
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }

    fn apply(&mut self, lsn: Lsn, head: &Head, place: (u64, usize)) {
        let gone = match head {
            Head::Letter { .. } | Head::Damage(_) => {
                self.live_bytes += place.1 as u64;
                self.removed.remove(&lsn);
                self.entries.insert(lsn, place)
            }
            Head::Removed { requeued_as } => {
                let removal = requeued_as.map_or(Removal::Dropped, |as_lsn| Removal::Requeued(Lsn(as_lsn)));
                self.removed.insert(lsn, removal);
                self.entries.remove(&lsn)
            }
        };
        self.live_bytes -= gone.map_or(0, |(_, len)| len as u64).min(self.live_bytes);
    }
}

fn head(salt: &[u8; 16]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(salt);
    bytes
}

fn load(file: Arc<dyn File>) -> io::Result<(Inner, Option<String>)> {
    let mut start = [0; HEAD as usize];
    fs::read_full(&*file, &mut start, 0)?;
    if start[..8] != MAGIC || u32::from_le_bytes(array(&start, 8)) != VERSION {
        return Err(io::Error::other(
            "dead/letters is not a dead-letter store of a version this forebay knows",
        ));
    }
    let len = file.size()?;
    let seed = Seed::new(&array(&start, 16));
    let mut scanner = Scanner::new(Arc::clone(&file), seed.clone(), len);
    let (entries, removed) = (BTreeMap::new(), BTreeMap::new());
    let mut inner =
        Inner { file, seed, end: HEAD, entries, removed, live_bytes: 0, promised: HEAD, broken: false };
    let mut trouble = None;
    while inner.end < len {
        let offset = inner.end;
        if let Ok(found) = scanner.at(offset)? {
            let len = found.len;
            if let Some((head, _)) = split(found.payload) {
                inner.apply(found.meta.lsn, &head, (offset, len));
            }
            inner.end += len as u64;
            inner.promised = inner.promised.max(found.meta.flushed.into());
            continue;
        }
        // A write that a crash interrupted ends the file; anything valid behind it means damage.
        let Some((next, _)) = scanner.resync(offset + frame::ALIGN as u64, 0..=u64::MAX)? else { break };
        trouble = Some(format!("bytes {offset} to {next} of dead/letters are damaged; the rest was read"));
        inner.end = next;
    }
    Ok((inner, trouble))
}

fn encode(
    out: &mut Vec<u8>,
    seed: &Seed,
    offset: u64,
    flushed: u64,
    lsn: Lsn,
    head: &Head,
    record: &[u8],
) -> io::Result<usize> {
    // A promise that does not fit is a weaker one: more is rewritten at the next start.
    let flushed = u32::try_from(flushed).unwrap_or(u32::MAX);
    let json = serde_json::to_vec(head)?;
    let mut payload = (json.len() as u32).to_le_bytes().to_vec();
    payload.extend_from_slice(&json);
    payload.extend_from_slice(record);
    let meta = Meta { kind: frame::RECORD, lsn, at: Timestamp(0), lane: 0, ends_batch: true, flushed };
    frame::encode(out, seed, offset, meta, &payload);
    Ok(frame::frame_len(payload.len()))
}

fn split(payload: &[u8]) -> Option<(Head, &[u8])> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let (json, record) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(json).ok()?, record))
}

fn read_entry(inner: &Inner, lsn: Lsn) -> io::Result<Option<Dead>> {
    let Some(&(offset, len)) = inner.entries.get(&lsn) else { return Ok(None) };
    let mut bytes = vec![0; len];
    fs::read_full(&*inner.file, &mut bytes, offset)?;
    let found = frame::decode(&bytes, &inner.seed, offset, len as u64)
        .map_err(|_| io::Error::other(format!("the dead letter of record {lsn} is damaged")))?;
    Ok(split(found.payload).and_then(|(head, record)| match head {
        Head::Letter { accepted_at, died_at, reason, attempts } => Some(Dead::Letter(Letter {
            lsn,
            accepted_at,
            died_at,
            reason,
            attempts,
            payload: record.to_vec(),
        })),
        Head::Damage(damage) => Some(Dead::Damage(damage)),
        Head::Removed { .. } => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::fs::RealFs;
    use super::*;

    fn letter(lsn: u64) -> Letter {
        Letter {
            lsn: Lsn(lsn),
            accepted_at: Timestamp(1),
            died_at: Timestamp(2),
            reason: "too large".into(),
            attempts: 1,
            payload: vec![lsn as u8; 50_000],
        }
    }

    fn open(dir: &Path) -> (DeadLetters, Option<String>) {
        std::fs::create_dir_all(dir.join(DIR)).unwrap();
        std::fs::create_dir_all(dir.join(super::super::quarantine::DIR)).unwrap();
        DeadLetters::open(Arc::new(RealFs), dir).unwrap()
    }

    #[test]
    fn letters_survive_a_restart_and_removed_ones_stay_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        store.add(&[letter(3), letter(9)]).unwrap();
        assert!(store.remove(Lsn(3), Removal::Requeued(Lsn(20))).unwrap());
        assert!(!store.remove(Lsn(3), Removal::Dropped).unwrap(), "it left before");
        let (store, trouble) = open(dir.path());
        assert_eq!(trouble, None);
        assert_eq!(store.get(Lsn(9)).unwrap(), Some(Dead::Letter(letter(9))));
        assert_eq!((store.lsns(), store.removal(Lsn(3))), (vec![Lsn(9)], Some(Removal::Requeued(Lsn(20)))));
    }

    #[test]
    fn removing_most_letters_gives_their_room_back() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        store.add(&(0..50).map(letter).collect::<Vec<_>>()).unwrap();
        let size = || std::fs::metadata(dir.path().join(DIR).join(FILE)).unwrap().len();
        let before = size();
        (0..49).for_each(|lsn| assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap()));
        assert!(size() < before / 2);
        let (store, _) = open(dir.path());
        assert_eq!(store.get(Lsn(49)).unwrap(), Some(Dead::Letter(letter(49))));
        assert_eq!(store.removed().len(), 49);
    }

    #[test]
    fn letters_behind_damage_are_found_however_large_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIR).join(FILE);
        let (store, _) = open(dir.path());
        store.add(&[letter(5_000_000_000)]).unwrap();
        store.add(&[letter(5_000_000_007)]).unwrap();
        let mut bad = std::fs::read(&path).unwrap();
        bad[5000] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let (store, trouble) = open(dir.path());
        assert!(trouble.unwrap().contains("damaged"));
        assert_eq!(store.lsns(), [Lsn(5_000_000_007)]);
    }

    #[test]
    fn a_torn_entry_is_cut_and_a_damaged_one_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIR).join(FILE);
        let (store, _) = open(dir.path());
        store.add(&[letter(1)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        store.add(&[letter(2)]).unwrap();
        let both = std::fs::read(&path).unwrap();
        std::fs::write(&path, &both[..both.len() - 100]).unwrap();
        let (store, trouble) = open(dir.path());
        assert_eq!((store.lsns(), trouble), (vec![Lsn(1)], None));
        let mut bad = both.clone();
        bad[whole.len() - 5000] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let (store, trouble) = open(dir.path());
        assert_eq!(store.lsns(), [Lsn(2)]);
        assert!(trouble.unwrap().contains("damaged"));
    }
}
