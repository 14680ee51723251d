//! Proves that each failpoint is found by the scenario it breaks, within the schedules of one run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{SCHEDULES, schedules, stories};
use crate::failpoint::{self, Failpoint};

/// The scenario that must find each failpoint.
const FOUND_BY: [(Failpoint, fn()); 14] = [
    (Failpoint::SkipFlush, stories::all_are_acknowledged_after_their_flush),
    (Failpoint::AnswerBeforeFlush, stories::all_are_acknowledged_after_their_flush),
    (Failpoint::CoverAfterFlush, stories::all_are_acknowledged_after_their_flush),
    (Failpoint::WakeBeforeEnqueue, stories::all_are_acknowledged_after_their_flush),
    (Failpoint::PublishedBeforeFlush, stories::readers_see_only_flushed_records),
    (Failpoint::WakeWithoutLock, stories::readers_see_only_flushed_records),
    (Failpoint::ReadersBeforeAnswers, stories::replies_are_sent_before_readers_are_woken),
    (Failpoint::FailureNotFinal, stories::a_failed_flush_reaches_all_callers),
    (Failpoint::FailureLate, stories::a_failed_flush_reaches_all_callers),
    (Failpoint::FollowersNotTold, stories::a_failed_flush_reaches_all_callers),
    (Failpoint::QueueLeftBehind, stories::a_failed_flush_reaches_all_callers),
    (Failpoint::CancelledKeepsRoom, stories::a_cancelled_request_affects_no_other),
    (Failpoint::SpareFilledAnew, stories::segments_are_handed_over),
    (Failpoint::SpareNotTold, stories::segments_are_handed_over),
];

#[test]
fn every_failpoint_is_found() {
    let seed = schedules::seed();
    println!("{}={seed}", schedules::SEED);
    let mut missed = Vec::new();
    for (fault, story) in FOUND_BY {
        let found = schedules::KINDS.map(|kind| schedules_until(fault, story, kind, seed));
        println!("{fault:?}: found in schedule {found:?} (random, PCT)");
        if found.iter().all(Option::is_none) {
            missed.push(fault);
        }
    }
    assert_eq!(missed, []);
}

/// The number of schedules until the scenario fails; `None` if it never fails.
fn schedules_until(fault: Failpoint, story: fn(), kind: schedules::Kind, seed: u64) -> Option<usize> {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let spoilt = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        story();
    };
    failpoint::set(Some(fault));
    let ended = catch_unwind(AssertUnwindSafe(|| schedules::run(kind, seed, SCHEDULES, spoilt)));
    failpoint::set(None);
    ended.err().map(|_| begun.load(Ordering::Relaxed))
}
