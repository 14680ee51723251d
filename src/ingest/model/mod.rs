//! Models of the commit path under shuttle: the real queue, commit loop, writer and log, on in-memory files, under
//! random schedules. A lost wake-up appears as a deadlock, because no wait times out.
//!
//! A failing schedule is printed. `FOREBAY_SHUTTLE_REPLAY=<schedule>` runs the test of that name with this schedule
//! only. `FOREBAY_SHUTTLE_SEED` repeats all schedules of a run.
#![allow(clippy::unwrap_used, reason = "a model may panic on any unexpected result")]

#[cfg(feature = "planted-faults")]
mod failpoints;
mod scenarios;
mod schedules;
mod setup;

use schedules::explore;

/// Number of schedules per kind and scenario. All together take about half a minute on two cores.
const SCHEDULES: usize = 1500;

#[test]
fn no_acknowledgement_comes_before_the_flush_that_covers_it() {
    explore(SCHEDULES, scenarios::all_are_acknowledged_after_their_flush);
}

#[test]
fn readers_see_only_flushed_records_and_all_are_woken() {
    explore(SCHEDULES, scenarios::readers_see_only_flushed_records);
}

#[test]
fn replies_are_sent_before_readers_are_woken() {
    explore(SCHEDULES, scenarios::replies_are_sent_before_readers_are_woken);
}

#[test]
fn a_gathering_group_is_complete_and_ends_at_a_stop() {
    explore(SCHEDULES, scenarios::a_gathering_group_ends);
}

#[test]
fn an_error_reaches_all_waiting_and_all_later_callers() {
    explore(SCHEDULES, scenarios::a_failed_flush_reaches_all_callers);
}

#[test]
fn a_cancelled_request_frees_its_queue_space() {
    explore(SCHEDULES, scenarios::a_cancelled_request_affects_no_other);
}

#[test]
fn the_queue_bounds_hold_and_space_is_released() {
    explore(SCHEDULES, scenarios::the_queue_is_bounded);
}

#[test]
fn a_stop_answers_or_refuses_everyone() {
    explore(SCHEDULES, scenarios::a_stop_answers_or_refuses_everyone);
}

#[test]
fn preallocated_segments_are_used_and_none_is_filled_twice() {
    explore(SCHEDULES, scenarios::segments_are_handed_over);
}

#[test]
fn a_repeat_waits_for_the_flush_of_its_original() {
    explore(SCHEDULES, scenarios::a_repeat_waits_for_its_original);
}
