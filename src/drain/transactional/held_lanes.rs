//! Lanes that stand still because a record of theirs cannot go.
//!
//! Positions know one number a lane, so what cannot go holds all that follows it in its lane; other lanes pass. The log
//! is the memory: when the reason is gone, the worker reads again from the first record held.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::drain::monitor::ParkedTopic;
use crate::drain::scope::{Scope, TopicPartition};
use crate::wal::Lsn;

#[derive(Debug)]
struct HeldLane {
    scope: Scope,
    first: Lsn,
    last: Lsn,
    waiting: u64,
}

#[derive(Debug)]
struct StalledPartition {
    retry_at: Instant,
    is_on_trial: bool,
    backoff: Backoff,
}

/// The lanes of one worker that are held, and the partitions that hold them.
#[derive(Debug)]
pub(super) struct HeldLanes {
    lanes: HashMap<u8, HeldLane>,
    stalled: HashMap<TopicPartition, StalledPartition>,
    backoff: Backoff,
}

impl HeldLanes {
    /// None. `backoff`: how often a partition that took nothing is tried again.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { lanes: HashMap::new(), stalled: HashMap::new(), backoff }
    }

    /// Whether this record's lane is held before it; if so, the record is counted. One that comes again after its
    /// transaction was aborted may lie before the record that holds the lane: it goes first.
    pub(super) fn blocks(&mut self, lane: u8, lsn: Lsn) -> bool {
        let Some(held) = self.lanes.get_mut(&lane).filter(|held| held.first <= lsn) else { return false };
        if lsn > held.last {
            held.waiting += 1;
            held.last = lsn;
        }
        true
    }

    /// Holds a lane from this record on. A lane that was held from a later record on is held from here, with this scope:
    /// the later records are looked at again afterwards.
    pub(super) fn hold(&mut self, lane: u8, lsn: Lsn, scope: impl Into<Scope>) {
        let scope = scope.into();
        let held = self.lanes.entry(lane).or_insert(HeldLane { scope, first: lsn, last: lsn, waiting: 1 });
        if lsn < held.first {
            (held.first, held.scope) = (lsn, scope);
            held.waiting += 1;
        }
    }

    /// Whether a lane waits for a value that is not made yet.
    pub(super) fn is_deferred(&self, lane: u8) -> bool {
        self.lanes.get(&lane).is_some_and(|held| matches!(held.scope, Scope::Deferred(_)))
    }

    /// Lets go of the lanes that `is_free` says, by what holds them and their first record; the first among these.
    pub(super) fn release(&mut self, mut is_free: impl FnMut(Scope, Lsn) -> bool) -> Option<Lsn> {
        let mut first: Option<Lsn> = None;
        self.lanes.retain(|_, held| {
            let free = is_free(held.scope, held.first);
            if free {
                first = first.into_iter().chain([held.first]).min();
            }
            !free
        });
        first
    }

    /// This partition took nothing for too long: it holds every lane that comes to it, and is tried again later.
    pub(super) fn mark_stalled(&mut self, place: TopicPartition, now: Instant) -> Duration {
        let backoff = self.backoff.clone();
        let stuck = self.stalled.entry(place).or_insert(StalledPartition {
            retry_at: now,
            is_on_trial: false,
            backoff,
        });
        let delay = stuck.backoff.delay();
        stuck.retry_at = now + delay;
        stuck.is_on_trial = false;
        delay
    }

    /// Whether the partition takes nothing for now.
    pub(super) fn is_stalled(&self, place: TopicPartition) -> bool {
        self.stalled.get(&place).is_some_and(|stuck| !stuck.is_on_trial)
    }

    /// All that take nothing for now.
    pub(super) fn stalled_partitions(&self) -> Vec<TopicPartition> {
        self.stalled.iter().filter(|(_, stuck)| !stuck.is_on_trial).map(|(place, _)| *place).collect()
    }

    /// Whether the partition is being tried: one record, and nothing else until that arrived.
    pub(super) fn is_on_trial(&self, place: TopicPartition) -> bool {
        self.stalled.get(&place).is_some_and(|stuck| stuck.is_on_trial)
    }

    /// Puts partitions whose delay is over on trial.
    pub(super) fn retry(&mut self, now: Instant) {
        for stuck in self.stalled.values_mut() {
            stuck.is_on_trial |= now >= stuck.retry_at;
        }
    }

    /// A record of this partition arrived. Says whether that was in doubt.
    pub(super) fn on_acknowledged(&mut self, place: TopicPartition) -> bool {
        !self.stalled.is_empty() && self.stalled.remove(&place).is_some()
    }

    /// Whether no lane is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Records held, with the number of the topic that holds them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.lanes.values().map(|held| (held.scope.topic(), held.waiting))
    }

    /// The same with the reason.
    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedTopic> {
        self.lanes.values().map(|held| (held.scope.topic(), held.waiting, held.scope.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: TopicPartition = TopicPartition { topic: 0, partition: 3 };

    fn held() -> HeldLanes {
        HeldLanes::new(Backoff::new(Duration::from_millis(100), Duration::from_secs(30)))
    }

    #[test]
    fn a_held_lane_stops_all_that_follows_and_others_pass() {
        let mut held = held();
        held.hold(7, Lsn(5), P);
        assert!(held.blocks(7, Lsn(9)) && held.blocks(7, Lsn(9)) && !held.blocks(8, Lsn(9)));
        assert_eq!(held.waiting().collect::<Vec<_>>(), [(0, 2)], "each counted once");
        held.hold(9, Lsn(3), P);
        assert_eq!(held.release(|_, _| false), None);
        assert_eq!(held.release(|scope, _| scope == P.into()), Some(Lsn(3)));
        assert!(held.is_empty() && !held.blocks(7, Lsn(9)));
    }

    /// After a transaction was aborted, records before the one that holds their lane come again.
    #[test]
    fn what_comes_again_before_the_record_that_holds_its_lane_is_not_passed_over() {
        let mut held = held();
        held.hold(7, Lsn(5), P);
        assert!(!held.blocks(7, Lsn(3)) && held.blocks(7, Lsn(5)));
        held.hold(7, Lsn(4), TopicPartition { topic: 1, partition: 0 });
        assert!(!held.blocks(7, Lsn(3)) && held.blocks(7, Lsn(4)));
        assert_eq!(
            held.release(|scope, _| scope == P.into()),
            None,
            "the first of them says what it waits for"
        );
        assert_eq!(held.release(|scope, _| scope.topic() == 1), Some(Lsn(4)));
    }

    #[test]
    fn a_jammed_partition_is_tried_again_after_its_delay_and_well_when_a_record_arrived() {
        let (mut held, now) = (held(), Instant::now());
        let delay = held.mark_stalled(P, now);
        held.retry(now);
        assert!(held.is_stalled(P) && !held.is_on_trial(P));
        held.retry(now + delay);
        assert!(!held.is_stalled(P) && held.is_on_trial(P));
        held.mark_stalled(P, now + delay);
        assert!(held.is_stalled(P), "the trial was lost");
        assert!(held.on_acknowledged(P) && !held.is_stalled(P) && !held.on_acknowledged(P));
    }
}
