//! A scripted run of a log in which the process crashes at every call to the file system, or every call fails. After
//! the next start no acknowledged record is lost, none is invented, and no intact record is reported as damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::dead_letters::DeadEntry;
use super::super::{Confirmation, DeadLetter, FindingKind, Lsn, NewRecord, OpenedLog, Retention};
use super::sim_fs::{FaultyCall, SimFs};
use super::support::*;
use crate::units::Timestamp;

const KEEP: Retention = Retention { age: Duration::from_secs(9), size: 12 << 10 };

/// Records and what the log must do with them.
#[derive(Clone, Default)]
struct ExpectedRecords {
    /// Acknowledged records and their payloads' numbers.
    acknowledged: BTreeMap<u64, u64>,
    /// Batches that were appended; not all of them were acknowledged.
    appended: Vec<(u64, Vec<u64>)>,
    confirmed: BTreeSet<u64>,
    /// Confirmed before the last checkpoint that was saved.
    settled: BTreeSet<u64>,
    /// Dead letters, and whether storing them was acknowledged.
    dead: BTreeMap<u64, bool>,
}

impl ExpectedRecords {
    /// Writes batches of one to three records, with all other operations of a log between them.
    fn run_script(&mut self, opened: &mut OpenedLog) {
        for step in 0..16u64 {
            self.write(opened, step);
            if step % 5 == 1 {
                self.confirm(opened, step);
            }
            if step % 7 == 3 {
                self.store_dead_letters(opened);
            }
            if step % 6 == 5 && opened.log.run_maintenance(KEEP, Timestamp(20_000)).is_ok() {
                self.settled = self.confirmed.clone();
            }
            if step % 11 == 8 {
                preallocate(&opened.log);
                // The result is visible in the next acknowledgement.
                let _ = opened.writer.seal_if_older(Duration::ZERO, Timestamp(20_000));
            }
        }
    }

    fn write(&mut self, opened: &mut OpenedLog, step: u64) {
        let numbers: Vec<_> = (0..=step % 3).map(|n| 10 * step + n).collect();
        let payloads: Vec<_> = numbers.iter().map(|&n| payload(n)).collect();
        let entries: Vec<_> =
            payloads.iter().map(|payload| NewRecord { lane: 0, label: "test", payload }).collect();
        preallocate(&opened.log);
        let poisoned = opened.log.poisoned().is_some();
        let appended = opened.writer.append(&entries, Timestamp(2_000));
        assert!(!poisoned || appended.is_err(), "a poisoned log accepts nothing");
        if let Ok(lsns) = &appended {
            self.appended.push((lsns.start.0, numbers));
        }
        let poisoned = opened.log.poisoned().is_some();
        let committed = opened.writer.commit();
        assert!(!poisoned || committed.is_err(), "a poisoned log acknowledges nothing");
        assert!(committed.is_ok() || opened.writer.commit().is_err(), "a failure is final");
        assert_eq!(committed.is_err(), opened.log.poisoned().is_some());
        if committed.is_ok() && appended.is_ok() {
            let (first, numbers) = self.appended.last().unwrap();
            let all = numbers.iter().enumerate().map(|(i, &n)| (first + i as u64, n));
            self.acknowledged.extend(all);
        }
    }

    fn confirm(&mut self, opened: &OpenedLog, step: u64) {
        let open = self.acknowledged.keys().filter(|lsn| !self.dead.contains_key(lsn));
        let these: Vec<_> = open.copied().filter(|lsn| lsn % 4 != step % 4).collect();
        let confirmation =
            |&lsn: &u64| Confirmation { lsn: Lsn(lsn), bytes: 40, partition: 1, offset: 1, at: Timestamp(1) };
        opened.log.confirm(&these.iter().map(confirmation).collect::<Vec<_>>());
        self.confirmed.extend(these);
    }

    /// Stores two dead letters at once, because a write of several frames may be torn between them.
    fn store_dead_letters(&mut self, opened: &OpenedLog) {
        let open = self
            .acknowledged
            .iter()
            .filter(|(lsn, _)| !self.confirmed.contains(lsn) && !self.dead.contains_key(lsn));
        let these: Vec<_> = open.map(|(&lsn, &n)| (lsn, n)).take(2).collect();
        let stored =
            opened.log.store_dead_letters(&these.iter().map(|&(lsn, n)| letter(lsn, n)).collect::<Vec<_>>());
        self.dead.extend(these.iter().map(|&(lsn, _)| (lsn, stored.is_ok())));
    }

    /// Checks an opened log against the expected records.
    fn check(&self, opened: &OpenedLog, what: &str) {
        for finding in &opened.recovery.findings {
            let harmless = matches!(finding.kind, FindingKind::TornTail | FindingKind::Checkpoint);
            assert!(harmless, "{what}: a crash is reported as damage: {finding:?}");
        }
        let read = waiting(&opened.log);
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0), "{what}: order");
        let seen: BTreeMap<u64, Vec<u8>> = read.into_iter().map(|(lsn, bytes)| (lsn.0, bytes)).collect();
        for (&lsn, &number) in &self.acknowledged {
            let dead = opened.log.dead_letters().get(Lsn(lsn)).unwrap();
            match (seen.get(&lsn), dead) {
                (Some(_), Some(_)) => panic!("{what}: dead letter {lsn} would be sent"),
                (Some(bytes), None) => {
                    assert_eq!(*bytes, payload(number), "{what}: record {lsn} has another payload");
                    assert!(!self.settled.contains(&lsn), "{what}: record {lsn} is delivered again");
                    assert_ne!(self.dead.get(&lsn), Some(&true), "{what}: dead letter {lsn} is lost");
                }
                (None, Some(DeadEntry::Letter(found))) => assert_eq!(found, letter(lsn, number), "{what}"),
                (None, _) => {
                    assert!(self.confirmed.contains(&lsn), "{what}: acknowledged record {lsn} is lost")
                }
            }
        }
        for (first, numbers) in &self.appended {
            let exists = |i: usize| seen.contains_key(&(first + i as u64));
            let acknowledged = self.acknowledged.get(first) == numbers.first();
            let partial = (0..numbers.len()).any(exists) && !(0..numbers.len()).all(exists);
            assert!(acknowledged || !partial, "{what}: only a part of the batch at {first} exists");
        }
        let appended: BTreeMap<u64, BTreeSet<u64>> = self.appended.iter().fold(
            BTreeMap::new(),
            |mut all: BTreeMap<_, BTreeSet<_>>, (first, numbers)| {
                for (i, &n) in numbers.iter().enumerate() {
                    all.entry(first + i as u64).or_default().insert(n);
                }
                all
            },
        );
        for (lsn, bytes) in &seen {
            let known = appended.get(lsn).is_some_and(|ns| ns.iter().any(|&n| payload(n) == *bytes));
            assert!(known, "{what}: record {lsn} was never appended");
        }
        let last = self.acknowledged.keys().next_back().copied().unwrap_or(0);
        assert!(opened.writer.next_lsn() > Lsn(last), "{what}: a number would be reused");
        assert_eq!(opened.log.backlog_stats().backlog, seen.len() as u64, "{what}: wrong backlog");
    }
}

fn letter(lsn: u64, number: u64) -> DeadLetter {
    DeadLetter {
        lsn: Lsn(lsn),
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(number),
    }
}

/// Unflushed data that survives a power failure.
#[derive(Clone, Copy, Debug)]
enum CrashOutcome {
    Nothing,
    Everything,
    Some(u64),
}

const SURVIVES: [CrashOutcome; 4] =
    [CrashOutcome::Nothing, CrashOutcome::Everything, CrashOutcome::Some(1), CrashOutcome::Some(2)];

impl CrashOutcome {
    fn crash(self, fs: &SimFs, salt: u64) {
        match self {
            Self::Nothing => fs.lose_unflushed(),
            Self::Everything => fs.keep_unflushed(),
            Self::Some(seed) => {
                let mut state = (seed << 32 | salt) ^ 0x9e37_79b9_7f4a_7c15;
                fs.crash(&mut |n| {
                    // xorshift64: small, and the same on every machine.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 33) as usize % n
                });
            }
        }
    }
}

/// Makes a log after one run, so that every call of the second run has data to work on.
fn restarted_log() -> (SimFs, ExpectedRecords) {
    let (fs, mut known) = (SimFs::new(), ExpectedRecords::default());
    let mut opened = reopen(&fs);
    known.run_script(&mut opened);
    fs.kill();
    (fs, known)
}

#[test]
pub fn a_crash_at_every_call_loses_nothing() {
    let (first, before) = restarted_log();
    for calls in 0.. {
        let (fs, mut known) = (first.deep_copy(), before.clone());
        fs.stop_after(calls);
        if let Ok(mut opened) = try_open(&fs) {
            known.run_script(&mut opened);
        }
        let died = fs.has_stopped();
        for survives in SURVIVES {
            let fs = fs.deep_copy();
            survives.crash(&fs, calls);
            stop_during_recovery(&fs, &known, survives, calls);
        }
        if !died {
            assert!(calls > 100, "the script makes too few calls");
            return;
        }
    }
}

fn stop_during_recovery(fs: &SimFs, known: &ExpectedRecords, survives: CrashOutcome, calls: u64) {
    for again in 0.. {
        let fs = fs.deep_copy();
        let what =
            format!("crash at call {calls}, {survives:?} survived, crash at call {again} of the start");
        fs.stop_after(again);
        let opened = try_open(&fs).is_ok();
        let died = fs.has_stopped();
        survives.crash(&fs, again);
        // The second start crashes too, each time at another call.
        fs.stop_after((again * 7 + calls) % 17);
        drop(try_open(&fs));
        survives.crash(&fs, again + 1);
        let third = try_open(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        known.check(&third, &what);
        if opened && !died {
            return;
        }
    }
}

#[test]
pub fn a_failure_of_every_call_loses_nothing() {
    let (first, before) = restarted_log();
    for fault in FaultyCall::ALL {
        for after in 0.. {
            let (fs, mut known) = (first.deep_copy(), before.clone());
            let what = format!("{fault:?} {after} failed");
            fs.fail(fault, after);
            if let Ok(mut opened) = try_open(&fs) {
                known.run_script(&mut opened);
            }
            if !fs.has_failed() {
                break;
            }
            for survives in SURVIVES {
                let fs = fs.deep_copy();
                survives.crash(&fs, after);
                let opened = try_open(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
                known.check(&opened, &format!("{what}, {survives:?} survived"));
            }
            // A new process starts on the contents of the page cache and relies on them, and then the power fails.
            fs.kill();
            let opened = try_open(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            known.check(&opened, &format!("{what}, process killed"));
            opened.log.run_maintenance(KEEP, Timestamp(20_000)).unwrap();
            let shown = waiting(&opened.log);
            fs.lose_unflushed();
            let opened = reopen(&fs);
            known.check(&opened, &format!("{what}, process killed, power failed"));
            assert_eq!(waiting(&opened.log), shown, "{what}: records that a start returned are lost");
        }
    }
}

/// A start flushes rewritten records together with the footer after them. If the power fails in between and only the
/// footer reaches the disk, the footer must not record them as flushed.
#[test]
fn a_footer_covers_only_records_flushed_before_it() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    append(&mut opened.writer, &(2..6).map(payload).collect::<Vec<_>>());
    fs.stop_after(1);
    assert!(opened.writer.commit().is_err(), "written, but not flushed");
    fs.kill();
    for calls in 0.. {
        let fs = fs.deep_copy();
        fs.stop_after(calls);
        drop(try_open(&fs));
        let died = fs.has_stopped();
        for seed in 0..20 {
            let fs = fs.deep_copy();
            CrashOutcome::Some(seed).crash(&fs, calls);
            let findings = reopen(&fs).recovery.findings;
            let damage = findings.into_iter().find(|finding| finding.kind == FindingKind::Damaged);
            assert_eq!(damage, None, "crash at call {calls} of the start, seed {seed}");
        }
        if !died {
            return;
        }
    }
}
