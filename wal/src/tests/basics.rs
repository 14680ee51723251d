//! Guarantees of the log, one per test.

use super::super::dead_letters::Removal;
use super::super::{
    AppendError, Confirmation, DeadLetter, FindingKind, Lsn, NewRecord, OpenError, RecordState, Retention,
    SegmentLocation,
};
use super::sim_fs::{FaultyCall, SimFs};
use super::support::*;
use crate::units::Timestamp;

pub fn confirmation(lsn: u64) -> Confirmation {
    Confirmation { lsn: Lsn(lsn), bytes: 40, partition: 2, offset: lsn as i64 * 10, at: Timestamp(5) }
}

fn keep_nothing() -> Retention {
    Retention { age: std::time::Duration::ZERO, size: 0 }
}

#[test]
pub fn only_committed_records_are_read() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1), payload(2)]);
    assert_eq!(waiting(&opened.log), []);
    opened.writer.commit().unwrap();
    append(&mut opened.writer, &[payload(3)]);
    assert_eq!(waiting(&opened.log), [(Lsn(1), payload(1)), (Lsn(2), payload(2))]);
    assert_eq!(opened.log.end(), Lsn(3));
}

#[test]
pub fn records_survive_a_restart_and_numbers_continue() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=200 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    assert!(opened.log.segments().len() > 3, "the test should rotate");
    fs.crash(&mut |_| 0);
    let opened = reopen(&fs);
    assert!(opened.recovery.findings.iter().all(|finding| finding.kind == FindingKind::Checkpoint));
    assert_eq!(opened.writer.next_lsn(), Lsn(201));
    let expected: Vec<_> = (1..=200).map(|n| (Lsn(n), payload(n))).collect();
    assert_eq!(waiting(&opened.log), expected);
    for n in [1, 57, 200] {
        assert_eq!(opened.log.read(Lsn(n)).unwrap().unwrap().payload, payload(n));
    }
    assert_eq!(opened.log.read(Lsn(201)).unwrap(), None);
}

#[test]
pub fn done_records_are_not_read_again_after_a_checkpoint() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=100 {
        append(&mut opened.writer, &[payload(n)]);
    }
    opened.writer.commit().unwrap();
    let done: Vec<_> = (1..=100).filter(|n| n % 7 != 0).collect();
    opened.log.confirm(&done.iter().map(|&n| confirmation(n)).collect::<Vec<_>>());
    opened.log.checkpoint(Timestamp(9)).unwrap();
    fs.crash(&mut |choices| choices - 1);
    let opened = reopen(&fs);
    let left: Vec<_> = waiting(&opened.log).into_iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(left, (1..=100).filter(|n| n % 7 == 0).collect::<Vec<_>>());
    assert_eq!(opened.log.backlog_stats().backlog, left.len() as u64);
    assert_eq!(
        opened.log.record_state(Lsn(8)).unwrap(),
        RecordState::Sent(Some(Confirmation { bytes: 0, ..confirmation(8) }))
    );
    assert_eq!(opened.log.record_state(Lsn(7)).unwrap(), RecordState::Accepted);
}

#[test]
pub fn delivered_segments_move_to_acked_and_then_expire() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=200 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    let all = opened.log.segments().len();
    opened.log.confirm(&(2..=200).map(confirmation).collect::<Vec<_>>());
    let keep = Retention { age: std::time::Duration::from_secs(9), size: u64::MAX };
    opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
    let acked = |log: &super::super::Log| {
        log.segments().iter().filter(|segment| segment.state().location == SegmentLocation::Acked).count()
    };
    assert_eq!(acked(&opened.log), all - 2, "all but the segment of record 1 and the open one");
    opened.log.run_maintenance(keep_nothing(), Timestamp(2_000)).unwrap();
    assert_eq!(opened.log.segments().len(), 2);
    fs.crash(&mut |_| 0);
    let opened = reopen(&fs);
    assert_eq!(opened.recovery.findings, [], "an expired segment is not missing");
    assert_eq!(waiting(&opened.log), [(Lsn(1), payload(1))]);
}

#[test]
fn maintenance_flushes_nothing_while_nothing_changes() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    let keep = Retention { age: std::time::Duration::from_secs(9), size: u64::MAX };
    let flushes_of_maintenance = || {
        let before = fs.flushes();
        opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
        fs.flushes() - before
    };
    flushes_of_maintenance();
    assert_eq!(flushes_of_maintenance(), 0, "idle from the start");
    append(&mut opened.writer, &[payload(1), payload(2)]);
    opened.writer.commit().unwrap();
    assert!(flushes_of_maintenance() > 0, "records were flushed");
    opened.log.confirm(&[confirmation(1)]);
    assert!(flushes_of_maintenance() > 0, "one is delivered");
    assert_eq!(flushes_of_maintenance(), 0, "idle with a backlog");
    fs.lose_unflushed();
    assert_eq!(waiting(&reopen(&fs).log), [(Lsn(2), payload(2))]);
}

#[test]
pub fn a_failed_write_or_flush_is_final() {
    for fault in [FaultyCall::Write, FaultyCall::Flush] {
        let fs = SimFs::new();
        let mut opened = reopen(&fs);
        append(&mut opened.writer, &[payload(1)]);
        fs.fail(fault, 0);
        assert!(opened.writer.commit().is_err());
        assert!(opened.writer.commit().is_err(), "the failure is final");
        let entry = NewRecord { lane: 0, label: "test", payload: b"x" };
        assert!(matches!(opened.writer.append(&[entry], Timestamp(1)), Err(AppendError::Poisoned(_))));
        assert_eq!(waiting(&opened.log), [], "its record is not visible");
        assert!(opened.log.poisoned().is_some());
    }
}

#[test]
pub fn every_failure_at_rotation_is_final_and_loses_nothing() {
    for fault in [FaultyCall::Write, FaultyCall::Flush, FaultyCall::Rename, FaultyCall::SyncDir] {
        for after in 0..200 {
            let fs = SimFs::new();
            let mut opened = reopen(&fs);
            fs.fail(fault, after);
            let mut committed = 0;
            for n in 1..=60 {
                preallocate(&opened.log);
                let entry = NewRecord { lane: 0, label: "test", payload: &payload(n) };
                if opened.writer.append(&[entry], Timestamp(1)).is_err() || opened.writer.commit().is_err() {
                    break;
                }
                committed = n;
            }
            fs.crash(&mut |choices| choices - 1);
            let opened = reopen(&fs);
            let read = waiting(&opened.log);
            assert!(read.len() as u64 >= committed, "{fault:?} {after}: {} of {committed}", read.len());
            assert!(read.iter().all(|(lsn, bytes)| *bytes == payload(lsn.0)));
        }
    }
}

#[test]
pub fn a_full_disk_refuses_records_until_space_is_free() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    fs.set_free(SEGMENT - 1);
    assert!(!opened.log.preallocate_segment(SEGMENT, 0));
    let mut accepted = 0;
    let refused = loop {
        let payload = payload(accepted + 1);
        let entry = NewRecord { lane: 0, label: "test", payload: &payload };
        match opened.writer.append(&[entry], Timestamp(1)) {
            Ok(_) => opened.writer.commit().unwrap(),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert_eq!(refused, AppendError::NoRoom);
    assert_eq!(waiting(&opened.log).len() as u64, accepted);
    fs.set_free(u64::MAX);
    assert!(opened.log.preallocate_segment(SEGMENT, 0));
    append(&mut opened.writer, &[payload(accepted + 1)]);
    opened.writer.commit().unwrap();
    assert_eq!(waiting(&opened.log).len() as u64, accepted + 1);
}

#[test]
pub fn delivered_segments_are_deleted_early_on_a_full_disk() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=60 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    opened.log.confirm(&(1..=60).map(confirmation).collect::<Vec<_>>());
    let keep = Retention { age: std::time::Duration::from_secs(9), size: u64::MAX };
    opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
    let before = opened.log.segments().len();
    assert!(before > 1);
    fs.fail(FaultyCall::Write, 0);
    assert!(!opened.log.preallocate_segment(SEGMENT, 0));
    assert_eq!(opened.log.segments().len(), before, "deleting segments does not help against a write error");
    fs.set_free(0);
    assert!(!opened.log.preallocate_segment(SEGMENT, 0), "the simulated disk does not grow");
    assert_eq!(opened.log.segments().len(), 1, "all delivered segments were deleted");
}

#[test]
pub fn a_disk_full_at_start_still_delivers_the_backlog() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    fs.set_free(0);
    let mut opened = reopen(&fs);
    assert_eq!(waiting(&opened.log), [(Lsn(1), payload(1))]);
    opened.log.preallocate_segment(SEGMENT, 0);
    let entry = NewRecord { lane: 0, label: "test", payload: b"x" };
    assert_eq!(opened.writer.append(&[entry], Timestamp(1)), Err(AppendError::NoRoom));
    fs.set_free(u64::MAX);
    append(&mut opened.writer, &[payload(2)]);
    opened.writer.commit().unwrap();
    fs.crash(&mut |_| 0);
    assert_eq!(waiting(&reopen(&fs).log).len(), 2);
}

#[test]
pub fn a_dead_letter_is_never_sent_again_without_a_checkpoint() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1), payload(2)]);
    opened.writer.commit().unwrap();
    let letter = DeadLetter {
        lsn: Lsn(1),
        accepted_at: Timestamp(1),
        died_at: Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(1),
    };
    opened.log.store_dead_letters(&[letter]).unwrap();
    assert_eq!(opened.log.backlog_stats().dead, 1);
    fs.crash(&mut |choices| choices - 1);
    let opened = reopen(&fs);
    assert_eq!(waiting(&opened.log), [(Lsn(2), payload(2))]);
    assert!(matches!(opened.log.record_state(Lsn(1)).unwrap(), RecordState::Dead { .. }));
}

fn too_large(lsn: Lsn, n: u64) -> DeadLetter {
    let (accepted_at, died_at) = (Timestamp(1), Timestamp(2));
    DeadLetter { lsn, accepted_at, died_at, reason: "too large".into(), attempts: 1, payload: payload(n) }
}

/// Regression: one failed flush stopped a worker and all its lanes until a restart of the daemon.
#[test]
fn a_failed_write_of_dead_letters_poisons_the_log() {
    for fault in [FaultyCall::Write, FaultyCall::Flush] {
        let fs = SimFs::new();
        let mut opened = reopen(&fs);
        append(&mut opened.writer, &[payload(1), payload(2)]);
        opened.writer.commit().unwrap();
        fs.fail(fault, 0);
        assert!(opened.log.store_dead_letters(&[too_large(Lsn(1), 1)]).is_err());
        let cause = opened.log.poisoned().unwrap_or_default();
        assert!(cause.contains("dead/letters"), "{fault:?}: {cause}");
        assert!(opened.log.store_dead_letters(&[too_large(Lsn(1), 1)]).is_err(), "{fault:?} is final");
        drop(opened);
        fs.lose_unflushed();
        let opened = reopen(&fs);
        assert_eq!(waiting(&opened.log).len(), 2, "{fault:?}: the record is still in the log");
        opened.log.store_dead_letters(&[too_large(Lsn(1), 1)]).unwrap();
    }
}

/// Regression: the status of a dead letter was 404 after its segment was deleted, although it could still be requeued.
#[test]
fn a_dead_letter_is_found_after_its_segment_was_deleted() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    let first = append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    opened.log.store_dead_letters(&[too_large(first, 1)]).unwrap();
    let delete = |opened: &mut super::super::OpenedLog| {
        preallocate(&opened.log);
        opened.writer.seal_if_older(std::time::Duration::ZERO, Timestamp(9)).unwrap();
        opened.log.run_maintenance(keep_nothing(), Timestamp(9)).unwrap();
        assert!(!opened.log.is_retained(first));
    };
    delete(&mut opened);
    let found = |opened: &super::super::OpenedLog| opened.log.read_or_dead_letter(first).unwrap().unwrap();
    assert_eq!(found(&opened).payload, payload(1));
    assert!(matches!(opened.log.record_state(first).unwrap(), RecordState::Dead { .. }));
    // The record is requeued, and becomes a dead letter again under another number. Ids refer to the first number.
    let again = append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    opened.log.remove_dead_letter(first, Removal::Requeued(again)).unwrap();
    opened.log.store_dead_letters(&[too_large(again, 1)]).unwrap();
    delete(&mut opened);
    assert!(!opened.log.is_retained(again));
    assert_eq!(
        (found(&opened).payload, opened.log.record_state(first).unwrap()),
        (payload(1), RecordState::Requeued(again))
    );
    let opened = reopen(&fs);
    assert_eq!(
        (found(&opened).payload, opened.log.record_state(first).unwrap()),
        (payload(1), RecordState::Requeued(again))
    );
    assert!(matches!(opened.log.record_state(again).unwrap(), RecordState::Dead { .. }));
    opened.log.remove_dead_letter(again, Removal::Dropped).unwrap();
    opened.log.run_maintenance(keep_nothing(), Timestamp(9)).unwrap();
    assert!(opened.log.read_or_dead_letter(first).unwrap().is_none());
}

#[test]
pub fn a_log_older_than_its_checkpoint_is_refused() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    let older = fs.read(&last_segment(&fs));
    append(&mut opened.writer, &[payload(2)]);
    opened.writer.commit().unwrap();
    opened.log.checkpoint(Timestamp(9)).unwrap();
    fs.put(&last_segment(&fs), older);
    let before = fs.deep_copy();
    assert!(matches!(try_open(&fs), Err(OpenError::Lost { durable: Lsn(2), found: Lsn(1), .. })));
    assert_eq!(fs.read(&last_segment(&fs)), before.read(&last_segment(&fs)), "the segment is not changed");
}

#[test]
pub fn a_read_error_is_not_an_end_of_file() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=100 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    fs.kill();
    for after in 0..40 {
        let fs = fs.deep_copy();
        fs.fail(FaultyCall::Read, after);
        let read = match try_open(&fs) {
            Err(OpenError::Io { .. }) => continue,
            Err(other) => panic!("{other}"),
            Ok(opened) => opened,
        };
        let mut cursor = read.log.cursor(Lsn(1));
        let mut seen = 0;
        loop {
            match cursor.next(|_, _| true) {
                Ok(Some(_)) => seen += 1,
                Ok(None) => break,
                // The reader tries again, and misses no record.
                Err(_) => assert!(fs.has_failed()),
            }
        }
        assert_eq!(seen, 100, "{after}");
    }
}

#[test]
pub fn with_redeliver_all_retained_records_are_delivered_again() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=100 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    opened.log.confirm(&(1..=100).map(confirmation).collect::<Vec<_>>());
    let keep = Retention { age: std::time::Duration::from_secs(9), size: u64::MAX };
    opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
    fs.crash(&mut |_| 0);
    let options = super::super::Options { redeliver: true, ..options(&Events::default()) };
    let opened = super::super::open(std::sync::Arc::new(fs.clone()), &dir(), &options, Timestamp(1)).unwrap();
    assert_eq!(waiting(&opened.log).len(), 100);
    opened.log.run_maintenance(keep_nothing(), Timestamp(2_000)).unwrap();
    assert_eq!(waiting(&opened.log).len(), 100, "no record expires before its delivery");
    assert_eq!(opened.log.backlog_stats().backlog, 100);
}

/// A record that cannot be delivered holds the watermark, while later records are delivered and expire.
#[test]
pub fn segments_expired_after_a_stalled_record_are_not_missing() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=200 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    opened.log.confirm(&(2..=200).map(confirmation).collect::<Vec<_>>());
    opened.log.run_maintenance(keep_nothing(), Timestamp(9_000)).unwrap();
    assert_eq!(opened.log.segments().len(), 2, "the stalled record's segment and the open one");
    for _ in 0..3 {
        let opened = reopen(&fs);
        assert_eq!(opened.recovery.findings, []);
        assert_eq!(waiting(&opened.log).len(), 1);
        opened.log.run_maintenance(keep_nothing(), Timestamp(9_000)).unwrap();
    }
}

/// Regression: between the rename and the update of its location, a reader found the file in neither directory.
#[test]
pub fn a_segment_that_is_being_moved_can_be_opened() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1)]);
    opened.writer.commit().unwrap();
    let segment = &opened.log.segments()[0];
    let acked = dir().join("acked").join(last_segment(&fs).file_name().unwrap());
    super::super::fs::Fs::rename(&fs, &last_segment(&fs), &acked).unwrap();
    assert_eq!(segment.state().location, SegmentLocation::Pending);
    segment.open(&fs, &dir()).unwrap();
}

/// A checkpoint or a segment of another log does not affect this one, even with larger numbers.
#[test]
pub fn checkpoint_and_segments_of_another_log_change_nothing() {
    let (ours, other) = (SimFs::new(), SimFs::new());
    let mut theirs = reopen(&other);
    for n in 1..=150 {
        append(&mut theirs.writer, &[payload(n)]);
        theirs.writer.commit().unwrap();
    }
    theirs.log.confirm(&(1..=150).map(confirmation).collect::<Vec<_>>());
    theirs.log.checkpoint(Timestamp(1)).unwrap();
    let mut opened = reopen(&ours);
    append(&mut opened.writer, &[payload(1), payload(2)]);
    opened.writer.commit().unwrap();
    opened.log.checkpoint(Timestamp(1)).unwrap();
    let foreign = last_segment(&other);
    let before = ours.deep_copy();
    super::super::fs::replace_file(&ours, &foreign, &other.read(&foreign)).unwrap();
    let opened = reopen(&ours);
    assert_eq!(waiting(&opened.log), [(Lsn(1), payload(1)), (Lsn(2), payload(2))]);
    assert!(opened.recovery.findings.iter().any(|finding| finding.kind == FindingKind::Foreign));
    let checkpoint = dir().join("checkpoint");
    before.put(&checkpoint, other.read(&checkpoint));
    let opened = reopen(&before);
    assert_eq!(waiting(&opened.log), [(Lsn(1), payload(1)), (Lsn(2), payload(2))]);
    assert!(opened.recovery.findings.iter().any(|finding| finding.kind == FindingKind::Checkpoint));
}

/// A status request saves a checkpoint in parallel with maintenance.
#[test]
pub fn concurrent_checkpoints_do_not_corrupt_each_other() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=300 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    let log = &opened.log;
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=300).for_each(|n| log.confirm(&[confirmation(n)])));
        scope.spawn(|| (0..300).for_each(|_| log.run_maintenance(keep_nothing(), Timestamp(2_000)).unwrap()));
        scope.spawn(|| (0..300).for_each(|_| drop(log.checkpoint(Timestamp(2_000)).unwrap())));
    });
    fs.crash(&mut |_| 0);
    let opened = reopen(&fs);
    assert_eq!(opened.recovery.findings, [], "no segment is missing, and the checkpoint is valid");
}
