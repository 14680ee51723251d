//! Tests of an encrypted log: the guarantees of a plain one, and those of encryption.

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

/// Runs tests of the log on an encrypted one.
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
        everything_a_repair_changes_has_a_copy_in_quarantine,
        a_repair_loses_no_readable_record,
        an_interrupted_repair_is_finished_by_the_next_one;
    basics:
        only_committed_records_are_read,
        records_survive_a_restart_and_numbers_continue,
        done_records_are_not_read_again_after_a_checkpoint,
        delivered_segments_move_to_acked_and_then_expire,
        a_failed_write_or_flush_is_final,
        every_failure_at_rotation_is_final_and_loses_nothing,
        a_full_disk_refuses_records_until_space_is_free,
        delivered_segments_are_deleted_early_on_a_full_disk,
        a_disk_full_at_start_still_delivers_the_backlog,
        a_dead_letter_is_never_sent_again_without_a_checkpoint,
        a_log_older_than_its_checkpoint_is_refused,
        a_read_error_is_not_an_end_of_file,
        with_redeliver_all_retained_records_are_delivered_again,
        segments_expired_after_a_stalled_record_are_not_missing,
        checkpoint_and_segments_of_another_log_change_nothing,
        concurrent_checkpoints_do_not_corrupt_each_other;
    damage:
        truncation_at_every_byte,
        a_flipped_bit_in_every_byte,
        every_zeroed_sector_and_every_swapped_pair_of_sectors,
        every_missing_segment_is_reported_and_the_others_are_delivered,
        damage_in_the_middle_costs_only_the_damaged_record,
        a_segment_without_footer_or_successor_is_read,
        later_frames_distinguish_damage_from_a_torn_tail,
        numbers_of_a_segment_without_header_are_not_reused;
    every_call:
        a_crash_at_every_call_loses_nothing,
        a_failure_of_every_call_loses_nothing;
}

const SECRET_TEXT: &[u8] = b"a name, an e-mail address, a password";

fn secret_payload(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.extend_from_slice(SECRET_TEXT);
    bytes
}

/// Makes a log with sealed, open and delivered segments, dead letters and a checkpoint.
fn full_log() -> SimFs {
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=200 {
        append(&mut opened.writer, &[secret_payload(n)]);
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
        payload: secret_payload(lsn),
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
fn no_file_contains_payloads_reasons_or_the_secret() {
    let plain = full_log();
    let everywhere = files_containing(&plain, SECRET_TEXT);
    assert!(everywhere.iter().any(|path| path.ends_with("dead/letters")), "the search finds existing text");
    encrypt();
    let fs = full_log();
    assert_eq!(files_containing(&fs, SECRET_TEXT), Vec::<PathBuf>::new());
    let secret = reopen(&fs).log.identity().secret;
    assert_eq!(files_containing(&fs, &secret), Vec::<PathBuf>::new());
    assert_eq!(files_containing(&fs, &[1; 32]), Vec::<PathBuf>::new(), "the master key");
}

#[test]
fn without_the_key_nothing_is_opened_or_changed() {
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
    append(&mut opened.writer, &[secret_payload(201)]);
    opened.writer.commit().unwrap();
    assert!(
        !files_containing(&fs, SECRET_TEXT).iter().any(|path| path.ends_with("dead/letters")),
        "encrypted at the start"
    );
    assert_eq!(waiting(&opened.log).len(), 80);
    assert!(
        matches!(opened.log.record_state(Lsn(7)).unwrap(), RecordState::Dead { reason, .. } if reason.contains("refused"))
    );
    use_keys(Keys::default());
    assert!(matches!(try_open(&fs).err().unwrap(), OpenError::Key { .. }));
    use_keys(Keys::new(None, vec![master(1)]));
    let mut opened = reopen(&fs);
    append(&mut opened.writer, &[secret_payload(202)]);
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
    assert_eq!(opened.log.dead_letters().len(), 2, "no key is needed");
}

/// A person with write access to the disk can forge a checksum, but not an authentication tag.
#[test]
pub fn a_forged_record_with_a_valid_checksum_is_damage() {
    encrypt();
    for target in ["payload", "lane", "time"] {
        let fs = SimFs::new();
        let mut opened = reopen(&fs);
        for n in 1..=150 {
            append(&mut opened.writer, &[secret_payload(n)]);
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
        assert_eq!(read.len(), 148, "{target}: the two forged records are not delivered");
        assert!(read.iter().all(|(lsn, payload)| *payload == secret_payload(lsn.0)), "{target}");
        let damaged = |event: &&Event| matches!(event, Event::Damaged(f) if f.kind == FindingKind::Damaged);
        assert_eq!(events.lock().iter().filter(damaged).count(), 2, "{target}: the two records are reported");
        assert_eq!(opened.log.dead_letters().len(), 2);
        let kept = |ending: &str| {
            fs.paths().iter().filter(|path| path.extension().is_some_and(|is| is == ending)).count()
        };
        assert_eq!(
            (kept("damaged"), kept("header")),
            (2, 2),
            "in quarantine, with the headers that decrypt them"
        );
    }
}

/// Changes the third record and corrects its checksum.
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
    frame::decode(&bytes[offset..], &seed, offset as u64, len as u64).expect("its checksum is valid");
    bytes
}

/// If quarantine fails, the reader must not skip the record that it could not copy.
#[test]
fn a_forged_record_is_passed_only_after_quarantine() {
    encrypt();
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    for n in 1..=100 {
        append(&mut opened.writer, &[secret_payload(n)]);
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
    assert_eq!(errors, 1, "the first attempt at quarantine failed");
    assert_eq!(seen, (1..=100).filter(|n| *n != 3).collect::<Vec<_>>());
    assert_eq!(opened.log.dead_letters().len(), 1);
}

#[test]
pub fn an_expired_segment_is_shredded_after_its_checkpoint() {
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
        assert_eq!(opened.recovery.findings, [], "call {calls}: a destroyed key is not damage");
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
fn the_size_limit_of_a_record_includes_its_tag() {
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
    panic!("no record fits");
}

#[test]
fn damage_of_both_key_copies_loses_the_segment() {
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
