//! Repairs: the plan changes nothing and equals the actions that follow. After a repair no findings remain. An
//! interrupted repair is finished by the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::fs::{Fs, OpenMode};
use super::super::inspect::LogDirectory;
use super::super::repair::{RepairReport, apply_on, plan_on};
use super::super::{Confirmation, DeadLetter, FindingKind, Lsn, OpenError, Retention};
use super::sim_fs::SimFs;
use super::support::*;
use crate::units::Timestamp;

const RECORDS: u64 = 150;
const DEAD: [u64; 2] = [20, 21];

/// Makes a log with segments in `acked/` and in `pending/`, one of them open; two dead letters; a delivery index and a
/// checkpoint.
fn log() -> SimFs {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=RECORDS {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    let letter = |lsn| DeadLetter {
        lsn: Lsn(lsn),
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(lsn),
    };
    // In two writes: the second records that the first was flushed.
    DEAD.map(letter)
        .iter()
        .for_each(|letter| opened.log.store_dead_letters(std::slice::from_ref(letter)).unwrap());
    let confirmation =
        |lsn| Confirmation { lsn: Lsn(lsn), bytes: 40, partition: 1, offset: 1, at: Timestamp(1) };
    opened.log.confirm(&(1..=60).filter(|lsn| !DEAD.contains(lsn)).map(confirmation).collect::<Vec<_>>());
    let keep = Retention { age: Duration::from_secs(9_999), size: u64::MAX };
    opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
    append(&mut opened.writer, &[payload(RECORDS + 1)]);
    opened.writer.commit().unwrap();
    fs
}

fn files(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    fs.paths().into_iter().map(|path| (path.clone(), fs.read(&path))).collect()
}

fn shared(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn plan(fs: &SimFs) -> Result<RepairReport, OpenError> {
    plan_on(shared(fs), &dir(), &options(&Events::default()), Timestamp(5), &mut |_| {})
}

fn apply(fs: &SimFs) -> Result<RepairReport, OpenError> {
    apply_on(&shared(fs), &dir(), &options(&Events::default()), Timestamp(5), &mut |_| {})
}

/// Checks that neither a repair nor an inspection has findings.
fn assert_healthy(fs: &SimFs, what: &str) {
    let again = plan(fs).unwrap();
    assert_eq!(
        again,
        RepairReport { findings: unknown(&again), ..RepairReport::default() },
        "{what}: work remains"
    );
    let view = LogDirectory::with_fs(shared(fs), &dir(), keys()).snapshot(|_| None).unwrap();
    let mut report = view.verify(&mut |_| None, &mut |_| {}).unwrap();
    report.findings.retain(|finding| finding.kind != FindingKind::Unknown);
    assert_eq!(report.findings, [], "{what}");
}

fn unknown(report: &RepairReport) -> Vec<super::super::Finding> {
    report.findings.iter().filter(|finding| finding.kind == FindingKind::Unknown).cloned().collect()
}

/// Checks the payload of every waiting record. Returns their number.
fn delivered(fs: &SimFs, what: &str) -> usize {
    let opened = reopen(fs);
    let read = waiting(&opened.log);
    for (lsn, bytes) in &read {
        assert_eq!(*bytes, payload(lsn.0), "{what}: record {lsn}");
    }
    read.len()
}

/// Creates a file with this content, and flushes it.
fn put_file(fs: &SimFs, path: &Path, bytes: &[u8]) {
    let file = fs.open(path, OpenMode::Create).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(path.parent().unwrap()).unwrap();
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, usize),
    Zero(usize, usize),
    Cut(usize, usize),
    Grow(usize, usize),
    Remove(usize),
    Foreign(u64),
    Leftover(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let (file, at) = (0..100usize, any::<usize>());
    prop_oneof![
        4 => (file.clone(), at).prop_map(|(file, at)| Damage::Flip(file, at)),
        2 => (file.clone(), at).prop_map(|(file, at)| Damage::Zero(file, at)),
        1 => (file.clone(), at).prop_map(|(file, at)| Damage::Cut(file, at)),
        1 => (file.clone(), 1..900usize).prop_map(|(file, bytes)| Damage::Grow(file, bytes)),
        1 => file.prop_map(Damage::Remove),
        1 => (1..200u64).prop_map(Damage::Foreign),
        1 => (0..5u8).prop_map(Damage::Leftover),
    ]
}

impl Damage {
    fn apply_to(&self, fs: &SimFs) {
        let paths: Vec<_> = fs.paths().into_iter().filter(|path| !path.ends_with("spare")).collect();
        let pick = |file: &usize| &paths[file % paths.len()];
        let change = |file: &usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs.read(pick(file));
            if !bytes.is_empty() {
                change(&mut bytes);
            }
            fs.put(pick(file), bytes);
        };
        match self {
            Self::Flip(file, at) => change(file, &|bytes| {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (at % 8);
            }),
            Self::Zero(file, at) => change(file, &|bytes| {
                let at = at % bytes.len();
                let end = (at + 700).min(bytes.len());
                bytes[at..end].fill(0);
            }),
            Self::Cut(file, at) => change(file, &|bytes| bytes.truncate(at % bytes.len())),
            Self::Grow(file, more) => change(file, &|bytes| bytes.resize(bytes.len() + more, 0x5a)),
            Self::Remove(file) => fs.remove(pick(file)).unwrap(),
            Self::Foreign(first) => {
                let other = SimFs::new();
                drop(reopen(&other));
                put_file(
                    fs,
                    &dir().join(format!("pending/{first:020}.wal")),
                    &other.read(&last_segment(&other)),
                );
            }
            Self::Leftover(which) => {
                let names = [
                    "checkpoint.tmp",
                    "dead/letters.tmp",
                    "sent/00000000000000000999.wal",
                    "pending/notes",
                    "x.tmp",
                ];
                put_file(fs, &dir().join(names[usize::from(*which)]), b"left over");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_repair_follows_its_plan_and_leaves_no_findings(damages in prop::collection::vec(damage(), 0..4)) {
        let fs = log();
        damages.iter().for_each(|damage| damage.apply_to(&fs));
        let before = files(&fs);
        let planned = plan(&fs);
        prop_assert!(files(&fs) == before, "a plan changes nothing");
        let done = apply(&fs);
        match (planned, done) {
            (Ok(planned), Ok(done)) => {
                prop_assert_eq!(&planned, &done);
                if !planned.has_work() {
                    prop_assert!(files(&fs) == before, "without findings nothing is changed");
                }
                if done.remaining.is_empty() {
                    assert_healthy(&fs, "repaired");
                }
                delivered(&fs, "repaired");
            }
            (Err(planned), Err(done)) => {
                prop_assert_eq!(planned.to_string(), done.to_string());
                prop_assert!(files(&fs) == before, "a log that cannot be repaired is not changed");
            }
            (planned, done) => prop_assert!(false, "{planned:?} and {done:?}"),
        }
    }
}

/// Makes a log with one case of each kind of damage that can be repaired.
fn damaged_log() -> SimFs {
    let fs = log();
    let pending: Vec<_> = files(&fs).into_keys().filter(|path| path.starts_with("/log/pending")).collect();
    assert!(pending.len() > 3, "{pending:?}");
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs.read(path);
        change(&mut bytes);
        fs.put(path, bytes);
    };
    change(&pending[0], &|bytes| bytes[4096 + 700] ^= 1);
    change(&pending[1], &|bytes| {
        let end = bytes.len();
        bytes[end - 1] ^= 1;
    });
    change(&last_segment(&fs), &|bytes| {
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() / 8 * 8 + 8;
        bytes[end..end + 5].fill(0x77);
    });
    change(&dir().join("checkpoint"), &|bytes| bytes[30] ^= 1);
    // In the first of the two dead letters. Counted from the end, because the length of the header depends on
    // encryption.
    change(&dir().join("dead/letters"), &|bytes| {
        let end = bytes.len();
        bytes[end - 450] ^= 1;
    });
    put_file(&fs, &dir().join("checkpoint.tmp"), b"left over");
    fs
}

#[test]
pub fn everything_a_repair_changes_has_a_copy_in_quarantine() {
    let fs = damaged_log();
    let before = files(&fs);
    let done = apply(&fs).unwrap();
    assert_eq!(done.remaining, []);
    let copy = |name: &str| fs.read(&dir().join("quarantine").join(name));
    assert_eq!(copy("checkpoint.1"), before[&dir().join("checkpoint")]);
    assert_eq!(copy("dead-letters.1"), before[&dir().join("dead/letters")]);
    assert_eq!(copy("checkpoint.tmp.1"), b"left over");
    let ends = |end: &str| done.backups.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((ends(".torn"), ends(".damaged"), ends(".footer")), (1, 1, 1), "{:?}", done.backups);
    for name in &done.backups {
        let (bytes, whole) = (copy(name), before.values().any(|file| *file == copy(name)));
        let part = || before.values().any(|file| file.windows(bytes.len()).any(|part| part == bytes));
        assert!(whole || part(), "{name} is a copy of earlier bytes");
    }
    assert_healthy(&fs, "repaired");
}

/// The readable dead letter remains. Only the damaged dead letter and the damaged record are lost.
#[test]
pub fn a_repair_loses_no_readable_record() {
    let fs = damaged_log();
    let readable = delivered(&fs.deep_copy(), "without a repair");
    apply(&fs).unwrap();
    assert_eq!(delivered(&fs, "repaired"), readable);
    assert!(reopen(&fs).log.dead_letters().contains(Lsn(DEAD[1])));
}

#[test]
pub fn an_interrupted_repair_is_finished_by_the_next_one() {
    let whole = damaged_log();
    let readable = {
        let fs = whole.deep_copy();
        apply(&fs).unwrap();
        delivered(&fs, "without an interruption")
    };
    for calls in 0.. {
        for power_fails in [None, Some(false), Some(true)] {
            let fs = whole.deep_copy();
            fs.stop_after(calls);
            let finished = apply(&fs).is_ok() && !fs.has_stopped();
            match power_fails {
                None => fs.kill(),
                Some(false) => fs.keep_unflushed(),
                Some(true) => fs.lose_unflushed(),
            }
            let what = format!("crash at call {calls}, power: {power_fails:?}");
            apply(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_healthy(&fs, &what);
            assert_eq!(delivered(&fs, &what), readable, "{what}");
            if finished && power_fails == Some(true) {
                assert!(calls > 30, "the repair makes too few calls");
                return;
            }
        }
    }
}
