//! Tests of the dead-letter store's guarantees to an operator.

use std::path::Path;
use std::sync::Arc;

use super::super::ack_tracker::AckTracker;
use super::super::byte_array::array;
use super::super::encryption::{Keys, MasterKey};
use super::super::frame;
use super::super::frame::ChecksumSeed;
use super::super::fs::RealFs;
use super::super::types::DeadLetter;
use super::entry::EncodedEntry;
use super::*;
use crate::units::{Lsn, Timestamp};

pub fn letter(lsn: u64) -> DeadLetter {
    DeadLetter {
        lsn: Lsn(lsn),
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: vec![lsn as u8; 50_000],
    }
}

pub fn open(dir: &Path) -> (DeadLetterStore, Option<String>) {
    open_with(dir, &Keys::default())
}

fn open_with(dir: &Path, keys: &Keys) -> (DeadLetterStore, Option<String>) {
    std::fs::create_dir_all(dir.join(DIR)).unwrap();
    std::fs::create_dir_all(dir.join(super::super::quarantine::DIR)).unwrap();
    DeadLetterStore::open(Arc::new(RealFs), dir, keys).unwrap()
}

#[test]
fn a_store_with_damaged_header_is_quarantined() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let master = super::super::encryption::MasterKey::new(zeroize::Zeroizing::new([1; 32]));
    for keys in [Keys::default(), Keys::new(Some(master), Vec::new())] {
        let (store, _) = open_with(dir.path(), &keys);
        store.add(&[letter(3)]).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[if good.len() < 52_000 { 3 } else { 100 }] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(missing_keys(&RealFs, dir.path(), &keys).unwrap(), None, "no missing key is reported");
        let (store, trouble) = open_with(dir.path(), &keys);
        assert!(trouble.unwrap().contains("quarantine/letters-0.damaged"));
        assert_eq!(std::fs::read(dir.path().join("quarantine/letters-0.damaged")).unwrap(), bad);
        store.add(&[letter(4)]).unwrap();
        assert_eq!(open_with(dir.path(), &keys).0.lsns(), [Lsn(4)]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_cut_of_the_last_entry_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open(dir.path());
    store.add(&[letter(1)]).unwrap();
    assert_eq!(open(dir.path()).0.truncation(), None);
    let mut bad = std::fs::read(&path).unwrap();
    let last = bad.len() - 9;
    bad[last] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let (store, _) = open(dir.path());
    assert!(store.is_empty() && store.truncation().unwrap().contains("quarantine"));
}

#[test]
fn letters_and_removals_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.add(&[letter(3), letter(9)]).unwrap();
    assert!(store.remove(Lsn(3), Removal::Requeued(Lsn(20))).unwrap());
    assert!(!store.remove(Lsn(3), Removal::Dropped).unwrap(), "it was removed earlier");
    let (store, trouble) = open(dir.path());
    assert_eq!(trouble, None);
    assert_eq!(store.get(Lsn(9)).unwrap(), Some(DeadEntry::Letter(letter(9))));
    assert_eq!((store.lsns(), store.removal(Lsn(3))), (vec![Lsn(9)], Some(Removal::Requeued(Lsn(20)))));
}

#[test]
fn removing_most_letters_frees_their_space() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.add(&(0..50).map(letter).collect::<Vec<_>>()).unwrap();
    let size = || std::fs::metadata(dir.path().join(DIR).join(FILE)).unwrap().len();
    let before = size();
    (0..49).for_each(|lsn| assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap()));
    store.maintain().unwrap();
    assert!(size() < before / 2);
    let (store, _) = open(dir.path());
    assert_eq!(store.get(Lsn(49)).unwrap(), Some(DeadEntry::Letter(letter(49))));
    assert_eq!(store.removed().len(), 49);
}

#[test]
fn letters_after_damage_are_found_despite_large_numbers() {
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
fn torn_entries_are_cut_and_damaged_ones_reported() {
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

/// A crash may retain the second entry of a write and not the first.
#[test]
fn a_torn_write_of_several_entries_is_not_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open(dir.path());
    store.add(&[letter(1)]).unwrap();
    let kept = std::fs::metadata(&path).unwrap().len() as usize;
    store.add(&[letter(2), letter(3)]).unwrap();
    let mut torn = std::fs::read(&path).unwrap();
    torn[kept..kept + 512].fill(0);
    std::fs::write(&path, torn).unwrap();
    let (store, trouble) = open(dir.path());
    assert_eq!((store.lsns(), trouble), (vec![Lsn(1), Lsn(3)], None));
    assert!(store.truncation().unwrap().contains(&format!("bytes {kept} to ")));
    // A later entry does not record the gap as flushed.
    store.add(&[letter(4)]).unwrap();
    let (store, trouble) = open(dir.path());
    assert_eq!((store.lsns(), store.truncation(), trouble), (vec![Lsn(1), Lsn(3), Lsn(4)], None, None));
}

#[test]
fn damage_in_a_rewritten_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open(dir.path());
    store.add(&[letter(1), letter(2)]).unwrap();
    store.compact().unwrap();
    let mut bad = std::fs::read(&path).unwrap();
    bad[5000] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let (store, trouble) = open(dir.path());
    assert_eq!(store.lsns(), [Lsn(2)]);
    assert!(trouble.unwrap().contains("damaged"));
}

fn keys() -> Keys {
    Keys::new(Some(MasterKey::new(zeroize::Zeroizing::new([1; 32]))), Vec::new())
}

#[test]
fn a_start_encrypts_or_decrypts_existing_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let shows = || {
        let bytes = std::fs::read(&path).unwrap();
        let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        (holds(b"too large"), holds(&[3; 100]))
    };
    let (store, _) = open(dir.path());
    store.add(&[letter(3), letter(9)]).unwrap();
    store.remove(Lsn(9), Removal::Dropped).unwrap();
    assert_eq!(shows(), (true, true));
    for round in 0..2 {
        let (store, trouble) = open_with(dir.path(), &keys());
        assert_eq!((shows(), trouble), ((false, false), None), "{round}");
        assert_eq!(store.get(Lsn(3)).unwrap(), Some(DeadEntry::Letter(letter(3))));
        assert_eq!((store.lsns(), store.removed()), (vec![Lsn(3)], vec![Lsn(9)]));
    }
    let seen =
        DeadLetterStore::open_read_only(Arc::new(RealFs), dir.path(), &Keys::default()).unwrap().0.unwrap();
    let Some(DeadEntry::Sealed(sealed)) = seen.get(Lsn(3)).unwrap() else {
        panic!("it is readable without the key")
    };
    assert_eq!((sealed.died_at, sealed.attempts), (Timestamp(2), 1));
    let off = Keys::new(None, vec![keys().current().unwrap().clone()]);
    assert_eq!(open_with(dir.path(), &off).0.get(Lsn(3)).unwrap(), Some(DeadEntry::Letter(letter(3))));
    assert_eq!(
        open(dir.path()).0.get(Lsn(3)).unwrap(),
        Some(DeadEntry::Letter(letter(3))),
        "no key is needed"
    );
}

/// A person with write access to the disk can forge a checksum, but not an authentication tag.
#[test]
fn a_forged_letter_with_a_valid_checksum_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open_with(dir.path(), &keys());
    store.add(&[letter(3), letter(9)]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let seed = ChecksumSeed::new(&array(&bytes, 16));
    let len = frame::decode_trusted(&bytes[4096..]).unwrap().len;
    bytes[4096 + 40_000] ^= 1;
    let crc = seed.crc(4096, &bytes[4096..4096 + len]);
    bytes[4096..4100].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (store, trouble) = open_with(dir.path(), &keys());
    assert!(trouble.unwrap().contains("record 3"));
    assert_eq!(store.lsns(), [Lsn(9)]);
}

/// Regression: each removal rewrote the whole store when most entries were removals.
#[test]
fn many_removals_do_not_each_cause_a_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open(dir.path());
    let small = |lsn| DeadLetter { payload: vec![1; 20], ..letter(lsn) };
    store.add(&(0..20_000).map(small).collect::<Vec<_>>()).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let mut rewritten = 0;
    let all: Vec<_> =
        (0..19_900).map(|lsn| EncodedEntry::from_removal(Lsn(lsn), Lsn(lsn), Removal::Dropped)).collect();
    store.append(&store.lock_writes(), &all).unwrap();
    for lsn in 19_900..20_000 {
        let before = inode();
        assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap());
        store.maintain().unwrap();
        rewritten += u32::from(inode() != before);
    }
    assert!(rewritten <= 1, "{rewritten}");
    // Removals of expired records take no space.
    store.drop_removed_below(Lsn(19_990));
    assert_eq!(store.removed().len(), 10);
    store.add(&[small(30_000)]).unwrap();
    store.remove(Lsn(30_000), Removal::Dropped).unwrap();
    store.maintain().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
}

#[test]
fn a_dropped_range_stays_dropped_completely() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (segment, reason) = ("x".to_owned(), "bad sector".to_owned());
    store
        .add_damage(DamagedRange { lsn_from: 5, lsn_to: 9, segment, reason, found_at: Timestamp(1) })
        .unwrap();
    store.remove(Lsn(5), Removal::Dropped).unwrap();
    let (store, _) = open(dir.path());
    let mut acks = AckTracker::new(Lsn(1));
    acks.insert(Lsn(1), Default::default());
    acks.extend(Lsn(1), 20, 20);
    store.mark_done_in(&mut acks);
    assert_eq!((1..=20).filter(|&lsn| acks.is_done(Lsn(lsn))).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
}
