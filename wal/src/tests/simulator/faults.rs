//! Every fault is planted by itself, and something finds it: a simulator that finds nothing proves nothing.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::super::{checkpoint, frame, lock, open_locked, preallocated_segment};
use super::super::support::{Events, options};
use super::{FIRST_SEED, Scenario, run_scenario};
use crate::failpoint::{self, Failpoint};
use crate::sync::Mutex;
use crate::units::Timestamp;

/// Lives a fault may need before it counts as not found.
const MAX_RUNS: u64 = 20_000;

/// Faults above the log, or between its threads: `ingest::model`, the storms and the drain's tests find them.
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

/// The test that finds a fault the simulator cannot meet, and why it cannot.
fn dedicated_test(fault: Failpoint) -> Option<(&'static str, fn())> {
    Some(match fault {
        // One process, one thread: nobody else takes the lock or fills the file.
        Failpoint::NoLock => {
            ("lock::a_second_process_learns_the_holder", lock::tests::a_second_process_learns_the_holder)
        }
        Failpoint::SpareFilledAnew => (
            "spare::a_taken_file_is_not_refilled_before_its_rename",
            preallocated_segment::tests::a_taken_file_is_not_refilled_before_its_rename,
        ),
        // The number of a record is looked at as well: bytes of another place must be of the same record to pass.
        Failpoint::CrcOmitsSalt | Failpoint::CrcOmitsOffset => (
            "frame::a_frame_of_another_offset_or_segment_is_invalid",
            frame::tests::a_frame_of_another_offset_or_segment_is_invalid,
        ),
        // Nobody can see it but who counts keys and nonces.
        Failpoint::ReuseDataKey => (
            "nonces::every_record_that_is_written_is_looked_at",
            super::super::nonces::every_record_that_is_written_is_looked_at,
        ),
        Failpoint::IgnoreTag => (
            "encrypted::a_changed_record_with_a_right_checksum_is_damage",
            super::super::encrypted::a_changed_record_with_a_right_checksum_is_damage,
        ),
        Failpoint::SkipShred => (
            "encrypted::a_segment_is_shredded_before_it_goes_and_not_before_a_checkpoint_says_it_is_done",
            super::super::encrypted::a_segment_is_shredded_before_it_goes_and_not_before_a_checkpoint_says_it_is_done,
        ),
        // Needs a dead letter in the last group, and that group spoilt: one life in some five thousand.
        Failpoint::LetterNumbersGiven => (
            "damage::the_number_of_a_dead_letter_is_not_given_again",
            super::super::damage::the_number_of_a_dead_letter_is_not_given_again,
        ),
        // Needs such a sector in the last group, which neither a later frame nor a checkpoint promises.
        Failpoint::UnreadableIsBlank => (
            "unreadable::each_unreadable_sector_costs_only_what_lies_in_it",
            super::super::unreadable::each_unreadable_sector_costs_only_what_lies_in_it,
        ),
        // Needs such a sector besides, and a start that dies between overwriting it and its footer.
        Failpoint::ListingForgotten => (
            "unreadable::a_start_that_dies_leaves_the_next_one_what_it_listed",
            super::super::unreadable::a_start_that_dies_leaves_the_next_one_what_it_listed,
        ),
        // Seldom more than a wrong length that fits no file.
        Failpoint::LengthNotBounded => (
            "frame::a_length_beyond_the_segments_end_is_invalid",
            frame::tests::a_length_beyond_the_segments_end_is_invalid,
        ),
        _ => return None,
    })
}

/// Whether a life ends badly with the fault and well without it. A panic is a failure, and no proof that anybody
/// would have noticed without it.
fn detects(fault: Failpoint, seed: u64) -> Option<String> {
    let story = Scenario::new(seed);
    let failure = run_scenario(&story).err().filter(|failure| !failure.panicked)?;
    failpoint::set(None);
    let sound = run_scenario(&story).is_ok();
    failpoint::set(Some(fault));
    sound.then_some(failure.what)
}

/// Who found it, after how many lives, and what was seen.
fn find(fault: Failpoint) -> Result<String, String> {
    failpoint::set(Some(fault));
    let found = match dedicated_test(fault) {
        Some((name, test)) => catch_unwind(test).err().map(|_| format!("`{name}`")),
        None => (FIRST_SEED..FIRST_SEED + MAX_RUNS).find_map(|seed| {
            detects(fault, seed).map(|what| format!("{} lives: {what}", seed - FIRST_SEED + 1))
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
fn each_planted_fault_is_found() {
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
    assert!(missed.is_empty(), "not found: {missed:?}");
}
