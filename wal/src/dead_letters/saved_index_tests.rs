//! Tests of a start with a saved index of the dead-letter store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::encryption::Keys;
use super::super::fs::RealFs;
use super::super::tests::SeededRng;
use super::super::types::DeadLetter;
use super::tests::{letter, open};
use super::*;
use crate::units::{Lsn, Timestamp};

fn small(lsn: u64) -> DeadLetter {
    DeadLetter { payload: vec![lsn as u8; 300], ..letter(lsn) }
}

/// All visible state of a store: entries, removed entries with the kind of removal, bytes in use, damage.
type StoreObservation = (Vec<Lsn>, Vec<(Lsn, Option<Removal>)>, u64, (u64, Option<Lsn>));

fn observe(store: &DeadLetterStore) -> StoreObservation {
    let removed = store.removed().into_iter().map(|lsn| (lsn, store.removal(lsn))).collect();
    let live_bytes = store.lock_state().index.live_bytes();
    (store.lsns(), removed, live_bytes, (store.damaged_records(), store.first_damage()))
}

/// Returns the same state from a start that ignores the saved index and reads all entries.
fn observe_without_index(dir: &Path) -> StoreObservation {
    let (store, trouble) = DeadLetterStore::open_read_only(Arc::new(RealFs), dir, &Keys::default()).unwrap();
    assert_eq!(trouble, None);
    observe(&store.unwrap())
}

fn saved(dir: &Path) -> PathBuf {
    dir.join("dead/places")
}

#[test]
fn a_start_reads_new_entries_and_an_inspection_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(RELATIVE_PATH);
    let (store, _) = open(dir.path());
    store.add(&[letter(1), letter(2)]).unwrap();
    store.maintain().unwrap();
    store.add(&[small(3)]).unwrap();
    let mut bad = fs::read(&path).unwrap();
    bad[5000] ^= 1;
    fs::write(&path, bad).unwrap();
    let (store, trouble) = open(dir.path());
    assert_eq!(
        (store.lsns(), trouble),
        (vec![Lsn(1), Lsn(2), Lsn(3)], None),
        "the start does not read the first entry"
    );
    assert!(store.get(Lsn(1)).unwrap_err().to_string().contains("damaged"), "a read reports the damage");
    assert_eq!(store.get(Lsn(2)).unwrap(), Some(DeadEntry::Letter(letter(2))));
    let (_, trouble) =
        DeadLetterStore::open_read_only(Arc::new(RealFs), dir.path(), &Keys::default()).unwrap();
    assert!(trouble.unwrap().contains("damaged"));
}

#[test]
fn a_start_with_a_saved_index_finds_the_same_entries() {
    // The sum over all runs, because a single run may contain no such start.
    let used: u32 = (0..12).map(run_random_steps).sum();
    assert!(used > 0, "no start found a saved index");
}

/// Runs 150 random steps on one store, including restarts. Returns the number of restarts that found a saved index.
fn run_random_steps(seed: u64) -> u32 {
    let mut rng = SeededRng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let (mut next, mut used) = (1, 0);
    for step in 0..150 {
        match rng.below(10) {
            0..=4 => {
                store.add(&[small(next), small(next + 1)]).unwrap();
                next += 2;
            }
            5 => {
                // A range of one record, or of six.
                let (lsn_from, lsn_to) = (next, next + 5 * rng.below(2) as u64);
                let (segment, reason) = ("x".to_owned(), "bad sector".to_owned());
                store
                    .add_damage(DamagedRange { lsn_from, lsn_to, segment, reason, found_at: Timestamp(1) })
                    .unwrap();
                next += 6;
            }
            6 | 7 => {
                let removal = match rng.one_in(2) {
                    true => Removal::Dropped,
                    false => Removal::Requeued(Lsn(next + 1000)),
                };
                store.remove(Lsn(1 + rng.below(next as usize) as u64), removal).unwrap();
            }
            8 => store.maintain().unwrap(),
            _ => {
                let before = observe(&store);
                drop(store);
                used += u32::from(saved(dir.path()).exists());
                assert_eq!(observe_without_index(dir.path()), before, "seed {seed}, step {step}");
                let trouble;
                (store, trouble) = open(dir.path());
                assert_eq!((observe(&store), trouble), (before, None), "seed {seed}, step {step}");
            }
        }
    }
    used
}

#[test]
fn a_damaged_or_foreign_saved_index_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(RELATIVE_PATH);
    let (store, _) = open(dir.path());
    let start = fs::read(&path).unwrap();
    store.add(&(1..10).map(small).collect::<Vec<_>>()).unwrap();
    store.remove(Lsn(4), Removal::Dropped).unwrap();
    store.maintain().unwrap();
    let (letters, good) = (fs::read(&path).unwrap(), fs::read(saved(dir.path())).unwrap());
    let expected = observe(&store);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(saved(dir.path()), bad).unwrap();
        assert_eq!(observe(&open(dir.path()).0), expected, "byte {at}");
        fs::write(saved(dir.path()), &good[..at]).unwrap();
        assert_eq!(observe(&open(dir.path()).0), expected, "up to byte {at}");
    }
    // An older copy of the entries is restored, and other entries are added.
    fs::write(&path, &start).unwrap();
    fs::remove_file(saved(dir.path())).unwrap();
    let (store, _) = open(dir.path());
    store.add(&(21..60).map(small).collect::<Vec<_>>()).unwrap();
    let others = observe(&store);
    fs::write(saved(dir.path()), &good).unwrap();
    assert_eq!(observe(&open(dir.path()).0), others, "the same file, with other entries");
    // The file of entries ends before the end recorded in the saved index.
    fs::write(&path, &letters[..letters.len() / 2]).unwrap();
    fs::write(saved(dir.path()), &good).unwrap();
    assert!(open(dir.path()).0.len() < 9);
}

#[test]
fn damaged_records_are_counted_after_restart_until_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let damage = |lsn_from, lsn_to| {
        let (segment, reason) = ("x".to_owned(), "bad sector".to_owned());
        DamagedRange { lsn_from, lsn_to, segment, reason, found_at: Timestamp(1) }
    };
    store.add(&[letter(1)]).unwrap();
    store.add_damage(damage(2, 2)).unwrap();
    store.add_damage(damage(5, 7)).unwrap();
    assert_eq!((store.damaged_records(), store.first_damage()), (4, Some(Lsn(2))));
    store.maintain().unwrap();
    assert!(saved(dir.path()).exists(), "the next start reads the saved index");
    let (store, _) = open(dir.path());
    assert_eq!((store.damaged_records(), store.first_damage()), (4, Some(Lsn(2))));
    store.remove(Lsn(2), Removal::Dropped).unwrap();
    store.remove(Lsn(5), Removal::Dropped).unwrap();
    assert_eq!((store.damaged_records(), store.first_damage(), store.len()), (0, None, 1));
}

#[test]
fn a_rewritten_file_does_not_use_the_old_index() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.add(&(1..30).map(small).collect::<Vec<_>>()).unwrap();
    store.maintain().unwrap();
    let previous = fs::read(saved(dir.path())).unwrap();
    (1..20).for_each(|lsn| assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap()));
    store.compact().unwrap();
    assert_eq!(fs::read(saved(dir.path())).unwrap(), previous);
    let expected = observe(&store);
    assert_eq!(observe(&open(dir.path()).0), expected);
    store.maintain().unwrap();
    assert_ne!(fs::read(saved(dir.path())).unwrap(), previous, "the index of the new file is saved");
    assert_eq!(observe(&open(dir.path()).0), expected);
}
