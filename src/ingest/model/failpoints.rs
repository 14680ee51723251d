//! Proves that each failpoint is found by the scenario it breaks, within the schedules of one run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{SCHEDULES, scenarios, schedules};
use crate::failpoint::{self, Failpoint};

/// The scenario that must find each failpoint.
const FOUND_BY: [(Failpoint, fn()); 14] = [
    (Failpoint::SkipFlush, scenarios::all_are_acknowledged_after_their_flush),
    (Failpoint::AnswerBeforeFlush, scenarios::all_are_acknowledged_after_their_flush),
    (Failpoint::CoverAfterFlush, scenarios::all_are_acknowledged_after_their_flush),
    (Failpoint::WakeBeforeEnqueue, scenarios::all_are_acknowledged_after_their_flush),
    (Failpoint::PublishedBeforeFlush, scenarios::readers_see_only_flushed_records),
    (Failpoint::WakeWithoutLock, scenarios::readers_see_only_flushed_records),
    (Failpoint::ReadersBeforeAnswers, scenarios::replies_are_sent_before_readers_are_woken),
    (Failpoint::FailureNotFinal, scenarios::a_failed_flush_reaches_all_callers),
    (Failpoint::FailureLate, scenarios::a_failed_flush_reaches_all_callers),
    (Failpoint::FollowersNotTold, scenarios::a_failed_flush_reaches_all_callers),
    (Failpoint::QueueLeftBehind, scenarios::a_failed_flush_reaches_all_callers),
    (Failpoint::CancelledKeepsRoom, scenarios::a_cancelled_request_affects_no_other),
    (Failpoint::SpareFilledAnew, scenarios::segments_are_handed_over),
    (Failpoint::SpareNotTold, scenarios::segments_are_handed_over),
];

#[test]
fn every_failpoint_is_found() {
    let seed = schedules::seed();
    println!("{}={seed}", schedules::SEED);
    let mut missed = Vec::new();
    for (fault, scenario) in FOUND_BY {
        let found = schedules::KINDS.map(|kind| schedules_until(fault, scenario, kind, seed));
        println!("{fault:?}: found in schedule {found:?} (random, PCT)");
        if found.iter().all(Option::is_none) {
            missed.push(fault);
        }
    }
    assert_eq!(missed, []);
}

/// The number of schedules until the scenario fails; `None` if it never fails.
fn schedules_until(fault: Failpoint, scenario: fn(), kind: schedules::Kind, seed: u64) -> Option<usize> {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let counted_scenario = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    failpoint::set(Some(fault));
    let ended = catch_unwind(AssertUnwindSafe(|| schedules::run(kind, seed, SCHEDULES, counted_scenario)));
    failpoint::set(None);
    ended.err().map(|_| begun.load(Ordering::Relaxed))
}
