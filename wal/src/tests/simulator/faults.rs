//! Sets each failpoint alone, and checks that a simulated run or a test detects it. A simulator that detects no fault
//! would prove nothing.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::super::{checkpoint, frame, lock, open_locked, preallocated_segment};
use super::super::support::{Events, options};
use super::{FIRST_SEED, Scenario, run_scenario};
use crate::failpoint::{self, Failpoint};
use crate::sync::Mutex;
use crate::units::Timestamp;

/// Maximum runs until a failpoint counts as not detected.
const MAX_RUNS: u64 = 20_000;

/// Failpoints above the log, or between its threads. `ingest::model`, the storms and the drain's tests detect them.
const FOUND_BY_OTHER_TESTS: [Failpoint; 14] = [
    Failpoint::AnswerBeforeFlush,
    Failpoint::CoverAfterFlush,
    Failpoint::FailureLate,
    Failpoint::FollowersNotTold,
    Failpoint::QueueLeftBehind,
    Failpoint::WakeBeforeEnqueue,
    Failpoint::CancelledKeepsRoom,
    Failpoint::WakeWithoutLock,
    Failpoint::ReadersBeforeAnswers,
    Failpoint::SpareNotTold,
    Failpoint::ConfirmUnsent,
    Failpoint::SentBeforeCommit,
    Failpoint::LoseCommitAnswer,
    Failpoint::GuessCommit,
];

/// The test that detects a failpoint that the simulator cannot detect. The comments give the reason.
fn dedicated_test(fault: Failpoint) -> Option<(&'static str, fn())> {
    Some(match fault {
        // The simulator has one process and one thread: no other takes the lock or fills the file.
        Failpoint::NoLock => {
            ("lock::a_second_process_learns_the_holder", lock::tests::a_second_process_learns_the_holder)
        }
        Failpoint::SpareFilledAnew => (
            "preallocated_segment::a_taken_file_is_not_refilled_before_its_rename",
            preallocated_segment::tests::a_taken_file_is_not_refilled_before_its_rename,
        ),
        // The record's number is checked too, so bytes of another offset are accepted only if they are the same
        // record.
        Failpoint::CrcOmitsSalt | Failpoint::CrcOmitsOffset => (
            "frame::a_frame_of_another_offset_or_segment_is_invalid",
            frame::tests::a_frame_of_another_offset_or_segment_is_invalid,
        ),
        // Visible only to a test that counts keys and nonces.
        Failpoint::ReuseDataKey => {
            ("nonces::every_written_record_is_checked", super::super::nonces::every_written_record_is_checked)
        }
        Failpoint::IgnoreTag => (
            "encrypted::a_forged_record_with_a_valid_checksum_is_damage",
            super::super::encrypted::a_forged_record_with_a_valid_checksum_is_damage,
        ),
        Failpoint::SkipShred => (
            "encrypted::an_expired_segment_is_shredded_after_its_checkpoint",
            super::super::encrypted::an_expired_segment_is_shredded_after_its_checkpoint,
        ),
        // Needs a dead letter in the last group, and damage to that group: about one run in five thousand.
        Failpoint::LetterNumbersGiven => (
            "damage::the_number_of_a_dead_letter_is_not_reused",
            super::super::damage::the_number_of_a_dead_letter_is_not_reused,
        ),
        // Needs such a sector in the last group, which no later frame or checkpoint records as flushed.
        Failpoint::UnreadableIsBlank => (
            "unreadable::each_unreadable_sector_costs_only_its_own_records",
            super::super::unreadable::each_unreadable_sector_costs_only_its_own_records,
        ),
        // Also needs such a sector, and a start that crashes after overwriting it and before writing its footer.
        Failpoint::ListingForgotten => (
            "unreadable::a_start_after_a_crashed_start_lists_the_same_loss",
            super::super::unreadable::a_start_after_a_crashed_start_lists_the_same_loss,
        ),
        // A wrong length rarely fits into the file.
        Failpoint::LengthNotBounded => (
            "frame::a_length_beyond_the_segments_end_is_invalid",
            frame::tests::a_length_beyond_the_segments_end_is_invalid,
        ),
        _ => return None,
    })
}

/// Runs a seed with and without the failpoint. Returns the violation if it fails only with it. A panic does not count,
/// because it does not prove that a check would have detected the fault.
fn detects(fault: Failpoint, seed: u64) -> Option<String> {
    let scenario = Scenario::new(seed);
    let failure = run_scenario(&scenario).err().filter(|failure| !failure.panicked)?;
    failpoint::set(None);
    let passes = run_scenario(&scenario).is_ok();
    failpoint::set(Some(fault));
    passes.then_some(failure.what)
}

/// Returns the test or the number of runs that detected the failpoint, and the violation.
fn find(fault: Failpoint) -> Result<String, String> {
    failpoint::set(Some(fault));
    let found = match dedicated_test(fault) {
        Some((name, test)) => catch_unwind(test).err().map(|_| format!("`{name}`")),
        None => (FIRST_SEED..FIRST_SEED + MAX_RUNS).find_map(|seed| {
            detects(fault, seed).map(|what| format!("{} runs: {what}", seed - FIRST_SEED + 1))
        }),
    };
    failpoint::set(None);
    found.ok_or_else(|| format!("{fault:?}"))
}

#[test]
fn a_failpoint_of_the_file_system_reaches_the_real_one() {
    let home = tempfile::tempdir().unwrap();
    let is_saved = |failpoint| {
        let dir = home.path().join(format!("{failpoint:?}"));
        failpoint::set(failpoint);
        let (_lock, opened) = open_locked(&dir, &options(&Events::default()), Timestamp(1)).unwrap();
        opened.log.checkpoint(Timestamp(2)).unwrap();
        failpoint::set(None);
        dir.join(checkpoint::FILE).exists()
    };
    assert!(is_saved(None));
    assert!(!is_saved(Some(Failpoint::RetiredBeforeCheckpoint)));
}

#[test]
fn each_failpoint_is_detected() {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let search = || {
        while let Some(&fault) = Failpoint::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            if FOUND_BY_OTHER_TESTS.contains(&fault) {
                continue;
            }
            let found = find(fault);
            println!("| `{fault:?}` | {} |", found.as_deref().unwrap_or("NOT FOUND"));
            results.lock().push(found);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(search);
        }
    });
    let missed: Vec<_> = results.into_inner().into_iter().filter_map(Result::err).collect();
    assert!(missed.is_empty(), "not detected: {missed:?}");
}
