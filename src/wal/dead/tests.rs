//! What an operator relies on.

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
    open_with(dir, &Keys::default())
}

fn open_with(dir: &Path, keys: &Keys) -> (DeadLetters, Option<String>) {
    std::fs::create_dir_all(dir.join(DIR)).unwrap();
    std::fs::create_dir_all(dir.join(super::super::quarantine::DIR)).unwrap();
    DeadLetters::open(Arc::new(RealFs), dir, keys).unwrap()
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

/// Each removal wrote the whole store anew once removals were most of it.
#[test]
fn a_store_of_many_removals_is_not_written_anew_at_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DIR).join(FILE);
    let (store, _) = open(dir.path());
    let small = |lsn| Letter { payload: vec![1; 20], ..letter(lsn) };
    store.add(&(0..20_000).map(small).collect::<Vec<_>>()).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let mut rewritten = 0;
    let mut inner = store.lock();
    let all: Vec<_> = (0..19_900).map(|lsn| Entry::removed(Lsn(lsn), Lsn(lsn), Removal::Dropped)).collect();
    inner.append(&all).unwrap();
    drop(inner);
    for lsn in 19_900..20_000 {
        let before = inode();
        assert!(store.remove(Lsn(lsn), Removal::Dropped).unwrap());
        rewritten += u32::from(inode() != before);
    }
    assert!(rewritten <= 1, "{rewritten}");
    // Those whose records are gone take no room any more.
    store.forget_below(Lsn(19_990));
    assert_eq!(store.removed().len(), 10);
    store.add(&[small(30_000)]).unwrap();
    store.remove(Lsn(30_000), Removal::Dropped).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
}

#[test]
fn a_range_that_was_dropped_stays_dropped_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (segment, reason) = ("x".to_owned(), "bad sector".to_owned());
    store.add_damage(Damage { lsn_from: 5, lsn_to: 9, segment, reason, found_at: Timestamp(1) }).unwrap();
    store.remove(Lsn(5), Removal::Dropped).unwrap();
    let (store, _) = open(dir.path());
    let mut ledger = Ledger::new(Lsn(1));
    ledger.insert(Lsn(1), Default::default());
    ledger.extend(Lsn(1), 20, 20);
    store.mark_in(&mut ledger);
    assert_eq!((1..=20).filter(|&lsn| ledger.is_done(Lsn(lsn))).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
}
