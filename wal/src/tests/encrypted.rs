//! An encrypted log: the same promises, and what encryption is for.

use std::path::PathBuf;

use super::super::byte_array::array;
use super::super::encryption::key_slots;
use super::super::frame::ChecksumSeed;
use super::super::fs::Fs;
use super::super::segment_header::SegmentHeader;
use super::super::{
    DeadLetter, Event, FindingKind, Keys, Lsn, NewRecord, OpenError, RecordState, Retention, frame,
};
use super::sim_fs::{FaultyCall, SimFs};
use super::support::*;
use crate::units::Timestamp;

/// The tests of the log, run on an encrypted one.
macro_rules! also_encrypted {
    ($($module:ident: $($test:ident),+;)+) => {
        $(mod $module {
            $(#[test]
            fn $test() {
                super::encrypt();
                super::super::$module::$test();
            })+
        })+
    };
}

also_encrypted! {
    repair:
        everything_that_is_changed_has_a_copy_in_quarantine,
        a_repair_loses_nothing_that_can_be_read,
        a_repair_that_dies_anywhere_is_finished_by_the_next_one;
    basics:
        what_was_committed_is_read_and_what_was_not_is_not,
        records_survive_a_restart_and_numbers_go_on,
        done_records_are_not_read_again_after_a_checkpoint,
        delivered_segments_move_to_acked_and_then_go,
        a_failed_write_or_flush_is_final,
        every_failure_at_rotation_is_final_and_loses_nothing,
        a_full_disk_refuses_before_anything_is_accepted_and_goes_on_by_itself,
        delivered_segments_yield_to_acceptance,
        a_disk_that_is_full_at_start_still_lets_the_backlog_drain,
        a_dead_letter_is_never_sent_again_whatever_the_checkpoint_says,
        a_log_older_than_its_checkpoint_is_refused,
        a_read_error_is_not_an_end_of_file,
        where_the_broker_dies_with_the_process_everything_kept_is_delivered_again,
        what_was_let_go_of_behind_a_stuck_record_is_not_missing_at_any_later_start,
        another_logs_checkpoint_and_segments_change_nothing,
        checkpoints_taken_side_by_side_do_not_spoil_or_overtake_one_another;
    damage:
        truncation_at_every_byte,
        a_flipped_bit_in_every_byte,
        every_zeroed_sector_and_every_swapped_pair,
        every_missing_segment_is_reported_and_the_others_are_delivered,
        damage_in_the_middle_costs_only_what_it_hit,
        a_segment_without_footer_or_successor_is_read_all_the_same,
        the_promise_of_later_frames_tells_damage_from_a_torn_tail,
        numbers_of_a_segment_whose_header_is_gone_are_not_given_again;
    every_call:
        the_process_dies_at_every_call_and_then_at_every_call_of_the_start,
        every_call_fails_once_and_nothing_acknowledged_is_lost;
}

const SECRET_TEXT: &[u8] = b"a name, an e-mail address, a password";

fn planted(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.extend_from_slice(SECRET_TEXT);
    bytes
}

/// A log with everything in it: sealed and open segments, delivered ones, dead letters, a checkpoint.
fn full_log() -> SimFs {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=200 {
        append(&mut opened.writer, &[planted(n)]);
        opened.writer.commit().unwrap();
    }
    opened.log.store_dead_letters(&[letter(7), letter(190)]).unwrap();
    opened.log.confirm(&(1..=120).filter(|n| *n != 7).map(super::basics::confirmation).collect::<Vec<_>>());
    let keep = Retention { age: std::time::Duration::from_secs(9), size: u64::MAX };
    opened.log.run_maintenance(keep, Timestamp(2_000)).unwrap();
    fs
}

fn letter(lsn: u64) -> DeadLetter {
    DeadLetter {
        lsn: Lsn(lsn),
        accepted_at: Timestamp(2_000),
        died_at: Timestamp(5_000),
        reason: format!("refused: {}", String::from_utf8_lossy(SECRET_TEXT)),
        attempts: 1,
        payload: planted(lsn),
    }
}

fn files_containing(fs: &SimFs, what: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| fs.read(path).windows(what.len()).any(|window| window == what);
    fs.paths().into_iter().filter(holds).collect()
}

fn content(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    fs.paths().into_iter().map(|path| (path.clone(), fs.read(&path))).collect()
}

#[test]
fn no_file_holds_a_payload_a_reason_or_the_logs_secret() {
    let plain = full_log();
    let everywhere = files_containing(&plain, SECRET_TEXT);
    assert!(everywhere.iter().any(|path| path.ends_with("dead/letters")), "the search finds what is there");
    encrypt();
    let fs = full_log();
    assert_eq!(files_containing(&fs, SECRET_TEXT), Vec::<PathBuf>::new());
    let secret = reopen(&fs).log.identity().secret;
    assert_eq!(files_containing(&fs, &secret), Vec::<PathBuf>::new());
    assert_eq!(files_containing(&fs, &[1; 32]), Vec::<PathBuf>::new(), "the master key");
}

#[test]
fn without_the_right_key_nothing_is_opened_and_nothing_touched() {
    encrypt();
    let fs = full_log();
    let before = content(&fs);
    for wrong in [Keys::default(), Keys::new(Some(master(2)), vec![master(3)])] {
        use_keys(wrong);
        let error = try_open(&fs).err().unwrap();
        assert!(matches!(error, OpenError::Key { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&master(1).id().to_string()) && text.contains("encryption_key_file"), "{text}");
        assert_eq!(content(&fs), before);
    }
    use_keys(Keys::new(Some(master(2)), vec![master(1)]));
    assert_eq!(waiting(&reopen(&fs).log).len(), 79);
}

#[test]
fn encryption_can_be_turned_on_and_off_again() {
    let fs = full_log();
    encrypt();
    let mut opened = reopen(&fs);
    assert!(opened.recovery.plain_segments > 2);
    append(&mut opened.writer, &[planted(201)]);
    opened.writer.commit().unwrap();
    assert!(
        !files_containing(&fs, SECRET_TEXT).iter().any(|path| path.ends_with("dead/letters")),
        "sealed at the start"
    );
    assert_eq!(waiting(&opened.log).len(), 80);
    assert!(
        matches!(opened.log.record_state(Lsn(7)).unwrap(), RecordState::Dead { reason, .. } if reason.contains("refused"))
    );
    use_keys(Keys::default());
    assert!(matches!(try_open(&fs).err().unwrap(), OpenError::Key { .. }));
    use_keys(Keys::new(None, vec![master(1)]));
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[planted(202)]);
    opened.writer.commit().unwrap();
    assert_eq!(waiting(&opened.log).len(), 81);
    let done: Vec<_> = (1..=202).map(super::basics::confirmation).collect();
    opened.log.confirm(&done);
    preallocate(&opened.log);
    opened.writer.seal_if_older(std::time::Duration::ZERO, Timestamp(9_000)).unwrap();
    let keep = Retention { age: std::time::Duration::ZERO, size: 0 };
    opened.log.run_maintenance(keep, Timestamp(9_000)).unwrap();
    drop(opened);
    use_keys(Keys::default());
    let opened = reopen(&fs);
    assert_eq!(opened.log.dead_letters().len(), 2, "no key is needed any more");
}

/// Whoever can write to the disk can make a checksum right. Not a tag.
#[test]
pub fn a_changed_record_with_a_right_checksum_is_damage() {
    encrypt();
    for target in ["payload", "lane", "time"] {
        let fs = SimFs::new();
        let mut opened = reopen(&fs);
        for n in 1..=150 {
            append(&mut opened.writer, &[planted(n)]);
            opened.writer.commit().unwrap();
        }
        opened.log.checkpoint(Timestamp(9)).unwrap();
        for path in fs.paths().into_iter().filter(|path| path.starts_with("/log/pending")).take(2) {
            fs.put(&path, forge(fs.read(&path), target));
        }
        let events = Events::default();
        let options = options(&events);
        let opened =
            super::super::open(std::sync::Arc::new(fs.clone()), &dir(), &options, Timestamp(1)).unwrap();
        let read = waiting(&opened.log);
        assert_eq!(read.len(), 148, "{target}: the two are not delivered");
        assert!(read.iter().all(|(lsn, payload)| *payload == planted(lsn.0)), "{target}");
        let damaged = |event: &&Event| matches!(event, Event::Damaged(f) if f.kind == FindingKind::Damaged);
        assert_eq!(events.lock().iter().filter(damaged).count(), 2, "{target}: and reported");
        assert_eq!(opened.log.dead_letters().len(), 2);
        let kept = |ending: &str| {
            fs.paths().iter().filter(|path| path.extension().is_some_and(|is| is == ending)).count()
        };
        assert_eq!((kept("damaged"), kept("header")), (2, 2), "aside, with what opens them");
    }
}

/// Changes the third record and makes its checksum right.
fn forge(mut bytes: Vec<u8>, target: &str) -> Vec<u8> {
    let seed = ChecksumSeed::new(&SegmentHeader::decode(&bytes[..4096]).unwrap().salt);
    let mut offset = 4096;
    for _ in 0..2 {
        offset += frame::decode_trusted(&bytes[offset..]).unwrap().len;
    }
    let len = frame::decode_trusted(&bytes[offset..]).unwrap().len;
    let at = match target {
        "payload" => 40,
        "lane" => 26,
        _ => 16,
    };
    bytes[offset + at] ^= 1;
    let crc = seed.crc(offset as u64, &bytes[offset..offset + len]);
    bytes[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
    frame::decode(&bytes[offset..], &seed, offset as u64, len as u64).expect("its checksum is right");
    bytes
}

/// Quarantine that fails must not let the reader go on behind what it could not put aside.
#[test]
fn a_changed_record_is_not_passed_before_it_is_in_quarantine() {
    encrypt();
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=100 {
        append(&mut opened.writer, &[planted(n)]);
        opened.writer.commit().unwrap();
    }
    let path = fs.paths().into_iter().find(|path| path.starts_with("/log/pending")).unwrap();
    fs.put(&path, forge(fs.read(&path), "payload"));
    let opened = reopen(&fs);
    let mut cursor = opened.log.cursor(Lsn(1));
    fs.fail(FaultyCall::Create, 0);
    let (mut seen, mut errors) = (Vec::new(), 0);
    loop {
        match cursor.next(|_, _| true) {
            Ok(Some(frame)) => seen.push(frame.lsn.0),
            Ok(None) => break,
            Err(_) => errors += 1,
        }
    }
    assert_eq!(errors, 1, "the first try at quarantine failed");
    assert_eq!(seen, (1..=100).filter(|n| *n != 3).collect::<Vec<_>>());
    assert_eq!(opened.log.dead_letters().len(), 1);
}

#[test]
pub fn a_segment_is_shredded_before_it_goes_and_not_before_a_checkpoint_says_it_is_done() {
    encrypt();
    let made = full_log();
    for calls in 0.. {
        let fs = made.deep_copy();
        let opened = reopen(&fs);
        let (all, kept) = (waiting(&opened.log), opened.log.segments().len());
        opened
            .log
            .confirm(&all.iter().map(|(lsn, _)| super::basics::confirmation(lsn.0)).collect::<Vec<_>>());
        fs.stop_after(calls);
        let keep = Retention { age: std::time::Duration::ZERO, size: 0 };
        let done = opened.log.run_maintenance(keep, Timestamp(9_000)).is_ok();
        assert!(kept > 3);
        fs.lose_unflushed();
        let opened = reopen(&fs);
        assert_eq!(opened.recovery.findings, [], "call {calls}: a key that was destroyed is no damage");
        let left = waiting(&opened.log);
        assert!(left.is_empty() || left == all, "call {calls}: {} of {}", left.len(), all.len());
        if done {
            assert!(left.is_empty());
            break;
        }
    }
    let fs = made;
    let opened = reopen(&fs);
    let inodes = |fs: &SimFs| {
        fs.journal().into_iter().filter(|(.., bytes)| *bytes == key_slots::shredded_slot()).count()
    };
    assert_eq!(inodes(&fs), 0);
    let acked = opened
        .log
        .segments()
        .iter()
        .filter(|s| s.state().location == super::super::SegmentLocation::Acked)
        .count();
    let keep = Retention { age: std::time::Duration::ZERO, size: 0 };
    opened.log.run_maintenance(keep, Timestamp(9_000)).unwrap();
    assert_eq!(inodes(&fs), 2 * acked, "both copies of each");
}

#[test]
fn a_record_too_long_for_a_segment_is_refused_with_its_tag_counted() {
    encrypt();
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for len in (0..SEGMENT as usize).rev().step_by(3) {
        preallocate(&opened.log);
        let entry = NewRecord { lane: 0, label: "test", payload: &vec![1; len] };
        let Ok(_) = opened.writer.append(&[entry], Timestamp(1)) else { continue };
        opened.writer.commit().unwrap();
        assert_eq!(waiting(&opened.log).len(), 1);
        return;
    }
    panic!("none fits");
}

#[test]
fn both_copies_of_a_key_damaged_costs_the_segment_and_is_reported() {
    encrypt();
    let fs = full_log();
    let path = fs.paths().into_iter().rfind(|path| path.starts_with("/log/pending")).unwrap();
    let mut bad = fs.read(&path);
    let first: u64 = u64::from_le_bytes(array(&bad, 96));
    key_slots::SLOT_OFFSETS.iter().for_each(|&at| bad[at + 60] ^= 1);
    fs.put(&path, bad);
    let opened = reopen(&fs);
    assert!(opened.recovery.findings.iter().any(|finding| finding.detail.contains("both copies")));
    assert!(waiting(&opened.log).iter().all(|(lsn, _)| lsn.0 < first));
    assert!(Fs::list(&fs, &dir().join("quarantine")).unwrap().len() == 1);
    assert!(opened.writer.next_lsn() > Lsn(200));
}
