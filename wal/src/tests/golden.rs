//! Stored logs of every released format still open, with the same contents.
//!
//! `tests/golden/format-1`, and `format-2`, which is encrypted, were written once and never change. The tests of the
//! current formats write such logs into the directory that `FOREBAY_GOLDEN` names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::fs::RealFs;
use super::super::*;
use super::support::*;
use crate::units::Timestamp;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const PLAIN: &str = "format-1";
const ENCRYPTED: &str = "format-2";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn options() -> Options {
    let mut options = super::support::options(&Events::default());
    options.segment_size = 1 << 20;
    options
}

#[test]
fn a_log_of_format_1_is_read_exactly() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    copy(&Path::new(GOLDEN).join(PLAIN), &log);
    check(&log);
}

#[test]
fn an_encrypted_log_of_format_2_is_read_exactly() {
    encrypt();
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    copy(&Path::new(GOLDEN).join(ENCRYPTED), &log);
    check(&log);
}

#[test]
fn the_current_format_is_read_like_the_golden_one() {
    write_and_read(PLAIN);
}

#[test]
fn the_current_encrypted_format_is_read_like_the_golden_one() {
    encrypt();
    write_and_read(ENCRYPTED);
}

fn write_and_read(format: &str) {
    let home = tempfile::tempdir().unwrap();
    let above = std::env::var_os("FOREBAY_GOLDEN").map_or_else(|| home.path().to_owned(), PathBuf::from);
    let target = above.join(format);
    write(&target);
    let log = home.path().join("copy");
    copy(&target, &log);
    check(&log);
}

fn check(log: &Path) {
    let opened = open(Arc::new(RealFs), log, &options(), Timestamp(9_000)).unwrap();
    assert_eq!(opened.recovery.findings, []);
    let expected: Vec<_> = (1..=40).filter(|n| n % 5 != 0 && *n != 7).map(|n| (Lsn(n), payload(n))).collect();
    assert_eq!(waiting(&opened.log), expected);
    assert_eq!(opened.writer.next_lsn(), Lsn(41));
    assert_eq!(
        opened.log.record_state(Lsn(10)).unwrap(),
        RecordState::Sent(Some(Confirmation {
            lsn: Lsn(10),
            bytes: 0,
            partition: 3,
            offset: 100,
            at: Timestamp(4_000)
        }))
    );
    assert_eq!(
        opened.log.record_state(Lsn(7)).unwrap(),
        RecordState::Dead { reason: "too large".into(), at: Timestamp(5_000) }
    );
}

fn write(log: &Path) {
    std::fs::create_dir_all(log).unwrap();
    let mut opened = open(Arc::new(RealFs), log, &options(), Timestamp(1_000)).unwrap();
    for n in 1..=40 {
        let payload = payload(n);
        let entry =
            NewRecord { lane: n as u8, label: if n % 2 == 0 { "even" } else { "odd" }, payload: &payload };
        opened.writer.append(&[entry], Timestamp(2_000 + n)).unwrap();
        opened.writer.commit().unwrap();
        if n == 20 {
            // One sealed segment, and one that is open when the process ends.
            opened.log.preallocate_segment(64 << 10, 0);
            opened.writer.seal_if_older(std::time::Duration::ZERO, Timestamp(3_000)).unwrap();
        }
    }
    let done: Vec<_> = (1..=8u64)
        .map(|n| Confirmation {
            lsn: Lsn(5 * n),
            bytes: 0,
            partition: 3,
            offset: 50 * n as i64,
            at: Timestamp(4_000),
        })
        .collect();
    opened.log.confirm(&done);
    let letter = DeadLetter {
        lsn: Lsn(7),
        accepted_at: Timestamp(2_007),
        died_at: Timestamp(5_000),
        reason: "too large".into(),
        attempts: 1,
        payload: payload(7),
    };
    opened.log.store_dead_letters(&[letter]).unwrap();
    opened.log.checkpoint(Timestamp(6_000)).unwrap();
}
