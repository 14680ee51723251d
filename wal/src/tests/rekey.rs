//! A change of the master key that may be interrupted at any call.

use super::super::encryption::key_slots;
use super::super::rekey::KeyStatus;
use super::super::{DeadLetter, Keys, Lsn, OpenError, rekey};
use super::sim_fs::{FaultyCall, SimFs};
use super::support::*;
use crate::units::Timestamp;

const COUNT: u64 = 100;

fn log() -> SimFs {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=COUNT {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    let letter = DeadLetter {
        lsn: Lsn(5),
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(5),
    };
    opened.log.store_dead_letters(&[letter]).unwrap();
    opened.log.checkpoint(Timestamp(9)).unwrap();
    fs.keep_unflushed();
    fs
}

fn both() -> Keys {
    Keys::new(Some(master(2)), vec![master(1)])
}

/// Wraps all keys with the new master key. Returns whether everything succeeded.
fn apply(fs: &SimFs) -> bool {
    let Ok(items) = rekey::plan(fs, &dir(), &both()) else { return false };
    let mut due = items.iter().filter(|item| item.status == KeyStatus::NeedsRekey);
    due.all(|item| rekey::apply(fs, &dir(), item, &both()).is_ok())
}

/// Checks that every file opens with the old or with the new key alone, and the log with both.
fn check(fs: &SimFs, what: &str) {
    for item in rekey::plan(fs, &dir(), &both()).unwrap() {
        let block = fs.read(&dir().join(&item.path))[..4096].to_vec();
        let opens = |n| key_slots::open(&block, &Keys::new(Some(master(n)), Vec::new())).is_ok();
        assert!(opens(1) || opens(2), "{what}: {} opens with neither key", item.path.display());
    }
    use_keys(both());
    let opened = reopen(fs);
    assert_eq!(opened.recovery.findings, [], "{what}");
    assert_eq!(waiting(&opened.log).len() as u64, COUNT - 1, "{what}");
}

#[test]
fn after_rekey_only_the_new_key_opens_the_log() {
    encrypt();
    let fs = log();
    let before: Vec<_> = fs.paths().into_iter().map(|path| (path.clone(), fs.read(&path))).collect();
    assert!(apply(&fs));
    for (path, mut old) in before {
        let mut new = fs.read(&path);
        if new.len() >= 4096 && new != old {
            [&mut old, &mut new].into_iter().for_each(|bytes| key_slots::blank_slots(bytes));
        }
        assert!(old == new, "{}: only the slots change", path.display());
    }
    use_keys(Keys::new(Some(master(1)), Vec::new()));
    assert!(matches!(try_open(&fs).err(), Some(OpenError::Key { .. })));
    let new = Keys::new(Some(master(2)), Vec::new());
    let items = rekey::plan(&fs, &dir(), &new).unwrap();
    assert!(items.len() > 3 && items.iter().all(|item| item.status == KeyStatus::Current), "{items:?}");
    use_keys(new);
    assert_eq!(waiting(&reopen(&fs).log).len() as u64, COUNT - 1);
}

#[test]
fn a_rekey_that_fails_at_any_call_can_be_repeated() {
    encrypt();
    let made = log();
    for calls in 0.. {
        let fs = made.deep_copy();
        fs.stop_after(calls);
        let succeeded = apply(&fs);
        for crash in [SimFs::lose_unflushed, SimFs::keep_unflushed] {
            let fs = fs.deep_copy();
            crash(&fs);
            check(&fs.deep_copy(), &format!("crash at call {calls}"));
            assert!(apply(&fs), "repeated after call {calls}");
            use_keys(Keys::new(Some(master(2)), Vec::new()));
            assert_eq!(waiting(&reopen(&fs).log).len() as u64, COUNT - 1);
        }
        if succeeded {
            assert!(calls > 10);
            break;
        }
    }
    for fault in [FaultyCall::Read, FaultyCall::Write, FaultyCall::Flush] {
        for after in 0.. {
            let fs = made.deep_copy();
            fs.fail(fault, after);
            let succeeded = apply(&fs);
            if !fs.has_failed() {
                break;
            }
            // A read that fails once is repeated; a failed write or flush is final.
            assert_eq!(succeeded, fault == FaultyCall::Read, "{fault:?} {after}: a failure is reported");
            fs.kill();
            check(&fs, &format!("{fault:?} {after} failed"));
        }
    }
}

#[test]
fn a_damaged_key_copy_is_rewritten_before_the_intact_one() {
    encrypt();
    let fs = log();
    let path = last_segment(&fs);
    let mut bad = fs.read(&path);
    bad[key_slots::SLOT_OFFSETS[1] + 9] ^= 1;
    fs.put(&path, bad);
    fs.stop_after(1);
    let items = rekey::plan(&fs, &dir(), &both()).unwrap();
    let item = items.iter().find(|item| path.ends_with(&item.path)).unwrap();
    assert!(rekey::apply(&fs, &dir(), item, &both()).is_err());
    fs.keep_unflushed();
    check(&fs, "the intact copy is unchanged");
    let block = fs.read(&path)[..4096].to_vec();
    assert!(key_slots::open_one(&block, 0, &master(1)).is_some());
}

/// Copies in quarantine also contain wrapped keys. They would otherwise stay under the old master key.
#[test]
fn copies_in_quarantine_are_also_rewrapped() {
    encrypt();
    let fs = log();
    let letters = fs.read(&dir().join("dead/letters"));
    let header = fs.read(&last_segment(&fs))[..4096].to_vec();
    for (name, bytes) in [("dead-letters.1", letters), ("00000000000000000001.header", header)] {
        super::super::fs::replace_file(&fs, &dir().join("quarantine").join(name), &bytes).unwrap();
    }
    assert!(apply(&fs));
    let new = Keys::new(Some(master(2)), Vec::new());
    let items = rekey::plan(&fs, &dir(), &new).unwrap();
    let copies = items.iter().filter(|item| item.path.starts_with("quarantine"));
    assert_eq!(copies.filter(|item| item.status == KeyStatus::Current).count(), 2, "{items:?}");
}
