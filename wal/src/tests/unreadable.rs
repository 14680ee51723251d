//! Sectors that the disk cannot read. The log starts, delivers all other records, and lists the lost ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::inspect::LogDirectory;
use super::super::{DeadLetter, Lsn, OpenError, OpenedLog, ReadError, RecordState, repair};
use super::sim_fs::{FaultyCall, SimFs};
use super::simulator::rng::SeededRng;
use super::support::*;
use crate::units::Timestamp;

const SECTOR: usize = 512;
/// Maximum records in a sector. A frame of these tests has at least 40 bytes, and may begin in the previous sector.
const RECORDS_IN_A_SECTOR: usize = 14;

/// Records of one batch.
const BATCH: u64 = 16;
/// Sectors that contain this batch.
const BATCH_SECTORS: std::ops::Range<usize> = 8..15;

/// Makes a log with sealed segments, an open one, dead letters and a checkpoint. If `checkpoint` is set, the
/// checkpoint records all records as flushed. Returns the log and its number of records.
fn log(checkpoint: bool) -> (SimFs, u64) {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[payload(1), payload(2), payload(3)]);
    opened.writer.commit().unwrap();
    opened.log.store_dead_letters(&[letter(1)]).unwrap();
    opened.log.store_dead_letters(&[letter(2), letter(3)]).unwrap();
    let mut n = 3;
    while opened.log.segments().len() < 3 || n % 20 != 0 {
        if n == 9 || (checkpoint && n % 20 == 19) {
            opened.log.checkpoint(Timestamp(9)).unwrap();
        }
        n += 1;
        append(&mut opened.writer, &[payload(n)]);
        opened.writer.commit().unwrap();
    }
    if checkpoint {
        opened.log.checkpoint(Timestamp(9)).unwrap();
    }
    (fs, n)
}

/// An open segment with one batch of records.
fn one_batch() -> (SimFs, PathBuf) {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &(1..=BATCH).map(payload).collect::<Vec<_>>());
    opened.writer.commit().unwrap();
    let path = last_segment(&fs);
    (fs, path)
}

fn letter(lsn: u64) -> DeadLetter {
    let (accepted_at, died_at) = (Timestamp(1), Timestamp(2));
    DeadLetter {
        lsn: Lsn(lsn),
        accepted_at,
        died_at,
        reason: "too large".into(),
        attempts: 1,
        payload: payload(lsn),
    }
}

/// Every sector of every file that a start reads.
fn sectors(fs: &SimFs) -> Vec<(PathBuf, usize)> {
    let read = |path: &PathBuf| !path.ends_with("spare");
    let of = |path: PathBuf| {
        let count = fs.read(&path).len().div_ceil(SECTOR);
        (0..count).map(move |sector| (path.clone(), sector))
    };
    fs.paths().into_iter().filter(read).flat_map(of).collect()
}

/// Whether a record is delivered, or listed as damaged or as a dead letter.
fn is_accounted_for(opened: &OpenedLog, delivered: &[Lsn], lsn: Lsn) -> bool {
    delivered.contains(&lsn) || matches!(opened.log.record_state(lsn), Ok(RecordState::Dead { .. }))
}

/// Opens the log and reads to the end. Returns how many of the records 4 to `count` were delivered, and whether dead
/// letters are lost.
fn deliver(fs: &SimFs, count: u64, letters_lost: bool, what: &str) -> (usize, bool) {
    let opened = try_open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let read = waiting(&opened.log);
    assert!(read.iter().all(|(lsn, bytes)| *bytes == payload(lsn.0)), "{what}: a wrong record");
    assert!(opened.writer.next_lsn() > Lsn(count), "{what}: a number would be reused");
    let delivered: Vec<_> = read.into_iter().map(|(lsn, _)| lsn).collect();
    let letters_lost =
        letters_lost || opened.recovery.findings.iter().any(|finding| finding.segment == "dead/letters");
    for lsn in (if letters_lost { 4 } else { 1 }..=count).map(Lsn) {
        let listed = opened.log.record_state(lsn).is_ok_and(|state| state == RecordState::Unknown)
            && opened.log.dead_letters().damage_covering(lsn).is_ok_and(|damage| damage.is_some());
        assert!(listed || is_accounted_for(&opened, &delivered, lsn), "{what}: record {lsn} is lost");
    }
    (delivered.iter().filter(|lsn| lsn.0 > 3).count(), letters_lost)
}

#[test]
pub fn each_unreadable_sector_costs_only_its_own_records() {
    for checkpoint in [false, true] {
        let (fs, count) = log(checkpoint);
        for (path, sector) in sectors(&fs) {
            let what = format!("sector {sector} of {} (checkpoint: {checkpoint})", path.display());
            let fs = fs.deep_copy();
            fs.break_sector(&path, sector);
            let (delivered, letters_lost) = deliver(&fs, count, false, &what);
            let is_segment = path.extension().is_some_and(|kind| kind == "wal");
            if !(is_segment && sector < 8) {
                assert!(
                    delivered + RECORDS_IN_A_SECTOR > count as usize - 3,
                    "{what}: {delivered} delivered"
                );
            }
            let again = format!("{what}, second start");
            let (delivered_again, _) = deliver(&fs, count, letters_lost, &again);
            assert!(delivered_again >= delivered, "{what}: the second start delivers less");
        }
    }
}

/// Found by the simulator. No checkpoint or later frame records the only batch as flushed. The sectors are in frames
/// with a readable header, and the records before them do not end the batch.
#[test]
fn an_unreadable_sector_costs_no_other_record_of_its_batch() {
    let (fs, path) = one_batch();
    for sector in BATCH_SECTORS {
        let what = format!("sector {sector}");
        let fs = fs.deep_copy();
        fs.break_sector(&path, sector);
        let (delivered, _) = deliver(&fs, BATCH, false, &what);
        assert!(delivered + 6 > BATCH as usize - 3, "{what}: {delivered} delivered");
        deliver(&fs, BATCH, false, &format!("{what}, second start"));
    }
}

/// Found together with the previous case. A start overwrites the sector to write its footer after it. If it crashes
/// before the footer is written, the next start finds bytes that look like a torn tail, which includes readable
/// records of the same batch.
#[test]
pub fn a_start_after_a_crashed_start_lists_the_same_loss() {
    let (fs, path) = one_batch();
    let chance = |fs: &SimFs| {
        let mut rng = SeededRng::new(fs.flushes());
        fs.crash(&mut |n| rng.below(n));
    };
    let ends: [&dyn Fn(&SimFs); 4] = [&SimFs::kill, &SimFs::lose_unflushed, &SimFs::keep_unflushed, &chance];
    for (sector, (index, end)) in
        BATCH_SECTORS.flat_map(|sector| ends.iter().enumerate().map(move |end| (sector, end)))
    {
        for after in 0.. {
            let fs = fs.deep_copy();
            fs.break_sector(&path, sector);
            fs.stop_after(after);
            let started = try_open(&fs).is_ok();
            if started && !fs.has_stopped() {
                break;
            }
            end(&fs);
            deliver(&fs, BATCH, false, &format!("sector {sector}, crash after {after} calls, end {index}"));
        }
    }
}

/// The running daemon continues to read after a sector becomes unreadable.
#[test]
fn a_reader_passes_an_unreadable_sector_and_reports_it() {
    let (fs, count) = log(true);
    let opened = reopen(&fs);
    let path = segment(&fs, 1);
    fs.break_sector(&path, 9);
    let read = waiting(&opened.log);
    assert!(read.len() + RECORDS_IN_A_SECTOR > count as usize - 3 && read.len() < count as usize - 3);
    let lost =
        (1..=count).map(Lsn).find(|lsn| *lsn > Lsn(3) && !read.iter().any(|(delivered, _)| delivered == lsn));
    let Ok(RecordState::Dead { reason, .. }) = opened.log.record_state(lost.unwrap()) else {
        panic!("{lost:?} is not listed")
    };
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(
        reason.ends_with(&format!("unreadable: input/output error at bytes 4608–5119 of {name}")),
        "{reason}"
    );
    assert!(fs.paths().iter().any(|path| path.starts_with("/log/quarantine")));
}

fn segment(fs: &SimFs, index: usize) -> PathBuf {
    fs.paths()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "wal"))
        .nth(index)
        .unwrap()
}

/// Any read of a start or of a reader fails once. It is retried, and no damage is reported.
#[test]
fn a_read_that_fails_once_is_not_damage() {
    let (fs, count) = log(true);
    for after in 0.. {
        let fs = fs.deep_copy();
        fs.fail(FaultyCall::Read, after);
        let opened = try_open(&fs).unwrap();
        assert_eq!(opened.recovery.findings, [], "read {after}");
        assert_eq!(waiting(&opened.log).len() as u64, count - 3, "read {after}");
        if !fs.has_failed() {
            assert!(after > 5);
            return;
        }
    }
}

/// A disk that is removed and reinserted has lost nothing.
#[test]
fn a_removed_disk_is_an_error_and_not_damage() {
    let (fs, count) = log(true);
    let removed = fs.deep_copy();
    removed.set_removed(true);
    assert!(matches!(try_open(&removed), Err(OpenError::Io { .. } | OpenError::Directory { .. })));
    let opened = reopen(&fs);
    fs.set_removed(true);
    let mut cursor = opened.log.cursor(Lsn(0));
    let read = cursor.next(|_, _| true).map(|_| ());
    assert!(matches!(read, Err(ReadError::Io { .. } | ReadError::Quarantine { .. })), "{read:?}");
    assert_eq!(opened.log.backlog_stats().dead, 3);
    fs.set_removed(false);
    drop(opened);
    let opened = reopen(&fs);
    assert_eq!(opened.recovery.findings, []);
    assert_eq!((waiting(&opened.log).len() as u64, opened.log.backlog_stats().dead), (count - 3, 3));
}

/// `verify`, `status` and `repair` report the sector, and do not fail.
#[test]
fn tools_report_and_repair_each_unreadable_sector() {
    let (fs, _) = log(true);
    for (path, sector) in sectors(&fs) {
        let what = format!("sector {sector} of {}", path.display());
        let fs = fs.deep_copy();
        fs.break_sector(&path, sector);
        let view =
            LogDirectory::with_fs(Arc::new(fs.clone()), &dir(), keys()).snapshot(|_| Some("test".into()));
        let view = view.unwrap_or_else(|error| panic!("{what}: {error}"));
        let report =
            view.verify(&mut |_| None, &mut |_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let backlog = view.backlog().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(backlog.oldest.is_some(), "{what}: the age of the oldest record is not known");
        let unused = fs.read(&path)[sector * SECTOR..].iter().all(|&byte| byte == 0);
        let sent = path.starts_with(Path::new("/log/sent"));
        assert!(!report.findings.is_empty() || unused || sent, "{what}: not found");
        let (files, options) = (Arc::new(fs.clone()) as Arc<_>, options(&Events::default()));
        let planned = repair::plan_on(Arc::clone(&files), &dir(), &options, Timestamp(5), &mut |_| ());
        let planned = planned.unwrap_or_else(|error| panic!("{what}: {error}"));
        let done = repair::apply_on(&files, &dir(), &options, Timestamp(5), &mut |_| ());
        let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(planned.findings, done.findings, "{what}");
        let again = repair::plan_on(files, &dir(), &options, Timestamp(5), &mut |_| ()).unwrap();
        assert!(!again.has_work(), "{what}: findings after a repair: {:?}", again.findings);
    }
}
