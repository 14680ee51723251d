//! Damage at every place, such as truncation at every byte and a flipped bit in every byte. It never yields a wrong
//! record or a panic, and is always reported.

use std::path::PathBuf;

use super::super::dead_letters::{DamagedRange, Removal};
use super::super::{Lsn, OpenError};
use super::sim_fs::SimFs;
use super::support::*;

/// Makes a log of several sealed segments and one that was open when the process crashed. If `checkpoint` is set, a
/// checkpoint records all records as flushed. Returns the log and its number of records.
fn log(checkpoint: bool) -> (SimFs, u64) {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    let mut n = 0;
    while opened.log.segments().len() < 3 || n % 20 != 0 {
        n += 1;
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    if checkpoint {
        opened.log.checkpoint(crate::units::Timestamp(9)).unwrap();
    }
    (fs, n)
}

fn segments(fs: &SimFs) -> Vec<PathBuf> {
    fs.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect()
}

/// Opens a damaged log and reads all records. Returns their number, and whether damage was reported.
fn start_and_deliver(fs: &SimFs, what: &str) -> (usize, bool) {
    let events = Events::default();
    let options = options(&events);
    let opened =
        super::super::open(std::sync::Arc::new(fs.clone()), &dir(), &options, crate::units::Timestamp(1));
    let opened = match opened {
        Ok(opened) => opened,
        Err(OpenError::Lost { .. } | OpenError::Version { .. }) => return (0, true),
        Err(other) => panic!("{what}: {other}"),
    };
    let read = waiting(&opened.log);
    let mut last = Lsn(0);
    for (lsn, bytes) in &read {
        assert!(*lsn > last, "{what}: order");
        assert_eq!(*bytes, payload(lsn.0), "{what}: a wrong record");
        last = *lsn;
    }
    assert!(opened.writer.next_lsn() > last);
    let reported = opened.recovery.findings.iter().any(|f| f.kind != super::super::FindingKind::Checkpoint);
    let events = events.lock();
    let damaged = events.iter().any(|event| matches!(event, super::super::Event::Damaged(_)));
    assert_eq!(opened.log.backlog_stats().backlog as usize, read.len(), "{what}: wrong backlog");
    (read.len(), reported || damaged)
}

/// Applies each case of `damage` to each segment. Damage that turns the last group into zeros is tested only with a
/// checkpoint. Without one it cannot be distinguished from a group that was never written.
fn check_damage(
    damage: impl Fn(&[u8], usize) -> Option<Vec<u8>>,
    cases: impl Fn(usize) -> usize,
    name: &str,
    checkpoints: &[bool],
) {
    for &checkpoint in checkpoints {
        let (fs, count) = log(checkpoint);
        assert_eq!(start_and_deliver(&fs.deep_copy(), "undamaged"), (count as usize, false));
        for path in segments(&fs) {
            let good = fs.read(&path);
            for case in 0..cases(good.len()) {
                let Some(bad) = damage(&good, case) else { continue };
                let fs = fs.deep_copy();
                fs.put(&path, bad);
                let what = format!("{name} {case} of {} (checkpoint: {checkpoint})", path.display());
                let (left, reported) = start_and_deliver(&fs, &what);
                assert!(reported || left as u64 == count, "{what}: {left} of {count} and no report");
            }
        }
    }
}

#[test]
pub fn truncation_at_every_byte() {
    check_damage(|good, len| Some(good[..len].to_vec()), |len| len, "cut at", &[false, true]);
}

#[test]
pub fn a_flipped_bit_in_every_byte() {
    let flip = |good: &[u8], at: usize| {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        Some(bad)
    };
    check_damage(flip, |len| len, "flipped bit in byte", &[false, true]);
}

#[test]
pub fn every_zeroed_sector_and_every_swapped_pair_of_sectors() {
    const SECTOR: usize = 512;
    let zero = |good: &[u8], sector: usize| {
        let mut bad = good.to_vec();
        let end = ((sector + 1) * SECTOR).min(bad.len());
        bad[sector * SECTOR..end].fill(0);
        (bad != good).then_some(bad)
    };
    check_damage(zero, |len| len.div_ceil(SECTOR), "zeroed sector", &[true]);
    let swap = |good: &[u8], case: usize| {
        let sectors = good.len() / SECTOR;
        let (a, b) = (case / sectors, case % sectors);
        let mut bad = good.to_vec();
        for i in 0..SECTOR {
            bad.swap(a * SECTOR + i, b * SECTOR + i);
        }
        (a < b && bad != good).then_some(bad)
    };
    check_damage(swap, |len| (len / SECTOR).pow(2), "swapped sectors, case", &[true]);
}

#[test]
pub fn every_missing_segment_is_reported_and_the_others_are_delivered() {
    let (fs, count) = log(true);
    let paths = segments(&fs);
    for gone in &paths[..paths.len() - 1] {
        let fs = fs.deep_copy();
        super::super::fs::Fs::remove(&fs, gone).unwrap();
        let (left, reported) = start_and_deliver(&fs, "missing");
        assert!(reported && left > 0 && (left as u64) < count);
    }
}

/// Only the damaged record is lost, and it is reported once.
#[test]
pub fn damage_in_the_middle_costs_only_the_damaged_record() {
    let (fs, count) = log(true);
    let path = &segments(&fs)[1];
    let mut bad = fs.read(path);
    bad[4096 + 100] ^= 1;
    fs.put(path, bad);
    let events = Events::default();
    let mut opened = super::super::open(
        std::sync::Arc::new(fs.clone()),
        &dir(),
        &options(&events),
        crate::units::Timestamp(1),
    )
    .unwrap();
    assert_eq!(waiting(&opened.log).len() as u64, count - 1);
    assert_eq!(opened.log.backlog_stats().dead, 1, "the lost record is a dead letter");
    append(&mut opened.writer, &[payload(count + 1)]);
    opened.writer.commit().unwrap();
    assert!(fs.paths().iter().any(|path| path.starts_with("/log/quarantine")));
    // A second start does not report the same range again.
    let opened = reopen(&fs);
    assert_eq!(opened.log.backlog_stats().dead, 1);
    assert_eq!(waiting(&opened.log).len() as u64, count);
}

#[test]
pub fn a_segment_without_footer_or_successor_is_read() {
    let (fs, count) = log(true);
    let paths = segments(&fs);
    let mut bad = fs.read(&paths[0]);
    let end = bad.len();
    bad[end - 1] ^= 1;
    fs.put(&paths[0], bad);
    let kept = reopen(&fs.deep_copy()).log.segments()[1].first.0 - 1;
    super::super::fs::Fs::remove(&fs, &paths[1]).unwrap();
    let (left, reported) = start_and_deliver(&fs, "no footer, no successor");
    let missing = reopen(&fs.deep_copy()).log.segments()[1].first.0 - 1 - kept;
    assert!(reported);
    assert_eq!(left as u64, count - missing);
}

/// Without a checkpoint, the flushed length in later frames distinguishes damage from a torn tail.
#[test]
pub fn later_frames_distinguish_damage_from_a_torn_tail() {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=10 {
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    let path = last_segment(&fs);
    let mut bad = fs.read(&path);
    bad[4096 + 100] ^= 1;
    fs.put(&path, bad);
    let opened = reopen(&fs);
    assert_eq!(waiting(&opened.log).len(), 9);
    assert_eq!((opened.log.backlog_stats().dead, opened.writer.next_lsn()), (1, Lsn(11)));
}

#[test]
pub fn numbers_of_a_segment_without_header_are_not_reused() {
    let (fs, count) = log(false);
    let path = last_segment(&fs);
    let mut bad = fs.read(&path);
    bad[20] ^= 1;
    fs.put(&path, bad);
    assert!(reopen(&fs).writer.next_lsn() > Lsn(count));
}

/// Found by fuzzing: without a checkpoint, the records between the last readable segment and one with a damaged header
/// were lost without a report.
#[test]
fn a_segment_missing_before_one_without_header_is_reported() {
    let (fs, _) = log(false);
    let paths = segments(&fs);
    let (missing, next) = (log_first(&fs, 1), log_first(&fs, 2));
    super::super::fs::Fs::remove(&fs, &paths[1]).unwrap();
    let mut bad = fs.read(&paths[2]);
    bad[20] ^= 1;
    fs.put(&paths[2], bad);
    let opened = reopen(&fs);
    let dead = opened.log.dead_letters().get(missing).unwrap();
    let Some(super::super::dead_letters::DeadEntry::Damage(damage)) = dead else { panic!("{dead:?}") };
    assert_eq!((damage.lsn_from, damage.lsn_to), (missing.0, next.0 - 1));
}

/// Found by fuzzing: a delivered segment without footer, followed by one with a damaged header, blocked every reader
/// indefinitely.
#[test]
fn readers_pass_a_segment_without_footer_or_successor() {
    let (fs, count) = log(false);
    let paths = segments(&fs);
    let acked = dir().join("acked").join(paths[1].file_name().unwrap());
    super::super::fs::Fs::rename(&fs, &paths[1], &acked).unwrap();
    for (path, at) in [(&acked, fs.read(&acked).len() - 1), (&paths[2], 20)] {
        let mut bad = fs.read(path);
        bad[at] ^= 1;
        fs.put(path, bad);
    }
    let mut opened = reopen(&fs);
    let new = append(&mut opened.writer, &[payload(count + 1)]);
    opened.writer.commit().unwrap();
    assert_eq!(waiting(&opened.log).last(), Some(&(new, payload(count + 1))));
}

/// The first record of the segment with this index.
fn log_first(fs: &SimFs, index: usize) -> Lsn {
    let name = segments(fs)[index].file_stem().unwrap().to_string_lossy().into_owned();
    Lsn(name.parse().unwrap())
}

/// The start that finds the damage crashes at every call. The next start still knows the segment.
#[test]
fn numbers_are_not_reused_after_a_start_that_crashed() {
    let (first, count) = log(false);
    let path = last_segment(&first);
    let mut bad = first.read(&path);
    bad[20] ^= 1;
    first.put(&path, bad);
    for calls in 0.. {
        let fs = first.deep_copy();
        fs.stop_after(calls);
        drop(try_open(&fs));
        let died = fs.has_stopped();
        fs.keep_unflushed();
        let opened = reopen(&fs);
        assert!(opened.writer.next_lsn() > Lsn(count), "crash at call {calls}");
        assert_eq!(opened.log.backlog_stats().dead, 1, "crash at call {calls}");
        if !died {
            return;
        }
    }
}

/// Found by the simulator with seed 18428: a reader that reached the open segment after lost numbers, before that
/// segment had a record, skipped its first one.
#[test]
fn a_reader_after_lost_numbers_gets_the_next_record() {
    let fs = SimFs::new();
    drop(reopen(&fs));
    let path = last_segment(&fs);
    let mut bad = fs.read(&path);
    bad[20] ^= 1;
    fs.put(&path, bad);
    let mut opened = reopen(&fs);
    let mut cursor = opened.log.cursor(Lsn(0));
    assert!(cursor.next(|_, _| true).unwrap().is_none());
    let first = append(&mut opened.writer, &[payload(1), payload(2)]);
    opened.writer.commit().unwrap();
    assert_eq!(cursor.next(|_, _| true).unwrap().map(|frame| frame.lsn), Some(first));
}

/// Neither a checkpoint nor an older segment shows that records are missing.
#[test]
fn records_of_an_oldest_segment_without_header_are_dead_letters() {
    let (fs, count) = log(false);
    let path = &segments(&fs)[0];
    let mut bad = fs.read(path);
    bad[20] ^= 1;
    fs.put(path, bad);
    let opened = reopen(&fs);
    let left = waiting(&opened.log);
    assert!(left.len() < count as usize);
    let damage = opened.log.dead_letters().get(Lsn(1)).unwrap();
    let listed = match damage {
        Some(super::super::dead_letters::DeadEntry::Damage(damage)) => (damage.lsn_from, damage.lsn_to),
        other => panic!("{other:?}"),
    };
    assert_eq!(listed, (1, left[0].0.0 - 1));
}

/// Makes a log of one group: records 1 to 4, of which the first `dead` are dead letters.
fn with_letters(dead: u64) -> SimFs {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1), payload(2), payload(3), payload(4)]);
    opened.writer.commit().unwrap();
    let letter = |n| super::super::DeadLetter {
        lsn: Lsn(n),
        accepted_at: crate::units::Timestamp(1),
        died_at: crate::units::Timestamp(2),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(n),
    };
    opened.log.store_dead_letters(&(1..=dead).map(letter).collect::<Vec<_>>()).unwrap();
    fs
}

fn corrupt(fs: &SimFs, path: &std::path::Path, at: usize) {
    let mut bad = fs.read(path);
    bad[at] ^= 1;
    fs.put(path, bad);
}

fn is_damage(opened: &super::super::OpenedLog, lsn: u64) -> bool {
    matches!(
        opened.log.dead_letters().get(Lsn(lsn)).unwrap(),
        Some(super::super::dead_letters::DeadEntry::Damage(_))
    )
}

/// The entry of a damaged range is found by its first number, like that of a dead letter.
#[test]
fn dead_letters_and_damage_do_not_hide_each_other() {
    let fs = with_letters(2);
    let path = last_segment(&fs);
    drop(reopen(&fs));
    corrupt(&fs, &path, 20);
    let opened = reopen(&fs);
    assert!(!is_damage(&opened, 1) && !is_damage(&opened, 2), "the dead letters remain");
    assert!(is_damage(&opened, 3), "a damaged header: the other records are listed");
    assert_eq!(opened.log.backlog_stats().dead, 3);

    let fs = with_letters(1);
    let path = last_segment(&fs);
    let opened = reopen(&fs);
    let mut bad = fs.read(&path);
    bad[4096..4096 + 100].fill(0xff);
    fs.put(&path, bad);
    assert_eq!(waiting(&opened.log), [(Lsn(3), payload(3)), (Lsn(4), payload(4))]);
    assert!(!is_damage(&opened, 1) && is_damage(&opened, 2), "found by a reader");
}

#[test]
fn each_record_of_a_damaged_range_is_dead() {
    let fs = with_letters(0);
    let path = last_segment(&fs);
    let opened = reopen(&fs);
    let mut bad = fs.read(&path);
    bad[4096..4096 + 250].fill(0xff);
    fs.put(&path, bad);
    assert_eq!(waiting(&opened.log), [(Lsn(4), payload(4))]);
    for lsn in 1..=3 {
        let state = opened.log.record_state(Lsn(lsn)).unwrap();
        assert!(matches!(state, super::super::RecordState::Dead { .. }), "{lsn}: {state:?}");
    }
}

/// The only group is corrupt and looks torn, but the dead-letter store shows that its records existed.
#[test]
pub fn the_number_of_a_dead_letter_is_not_reused() {
    let fs = with_letters(2);
    corrupt(&fs, &last_segment(&fs), 4096 + 40);
    let opened = reopen(&fs);
    assert_eq!(opened.writer.next_lsn(), Lsn(3));
    let fs = with_letters(2);
    corrupt(&fs, &last_segment(&fs), 20);
    assert!(reopen(&fs).writer.next_lsn() > Lsn(4));
}

/// A damaged range that covers numbers after the end of the log. The numbers are skipped, and a dropped range is not
/// listed again.
#[test]
fn numbers_of_listed_or_dropped_damage_are_not_reused() {
    for dropped in [false, true] {
        let fs = with_letters(0);
        let (segment, reason) = ("x".to_owned(), "bad sector".to_owned());
        let found_at = crate::units::Timestamp(1);
        let listed = DamagedRange { lsn_from: 5, lsn_to: 9, segment, reason, found_at };
        let opened = reopen(&fs);
        opened.log.dead_letters().add_damage(listed).unwrap();
        if dropped {
            opened.log.dead_letters().remove(Lsn(5), Removal::Dropped).unwrap();
        }
        drop(opened);
        let opened = reopen(&fs);
        assert_eq!(opened.writer.next_lsn(), Lsn(10));
        assert_eq!(opened.log.backlog_stats().dead, u64::from(!dropped));
        assert_eq!(opened.log.backlog_stats().backlog, 4);
    }
}

/// Only the first records of a batch reached the disk.
#[test]
pub fn a_torn_batch_is_not_read() {
    for kept in 0..3 {
        let fs = SimFs::new();
        let mut opened = reopen(&fs);
        let batch: Vec<_> = (0..3).map(|n| vec![n; 600]).collect();
        append(&mut opened.writer, &batch);
        opened.writer.commit().unwrap();
        let path = last_segment(&fs);
        let mut torn = fs.read(&path);
        torn[4096 + 632 * kept..].fill(0);
        fs.put(&path, torn);
        assert_eq!(waiting(&reopen(&fs).log), [], "{kept} of 3");
    }
}
