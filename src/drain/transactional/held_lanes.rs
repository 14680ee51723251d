//! Lanes that are held because one of their records cannot be sent.
//!
//! Each lane has a single position, so a record that cannot be sent holds all records behind it in its lane. Other
//! lanes pass. Held records are not kept in memory. When the cause is gone, the worker reads the log again from the
//! first held record.

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

/// The held lanes of one worker, and the stalled partitions that hold them.
#[derive(Debug)]
pub(super) struct HeldLanes {
    lanes: HashMap<u8, HeldLane>,
    stalled: HashMap<TopicPartition, StalledPartition>,
    backoff: Backoff,
}

impl HeldLanes {
    /// Starts without held lanes. `backoff` gives the delays after which a stalled partition is tried again.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { lanes: HashMap::new(), stalled: HashMap::new(), backoff }
    }

    /// Whether this record's lane is held before it. If so, the record is counted. A record that is read again after
    /// its transaction was aborted may precede the record that holds the lane. Such a record is sent first.
    pub(super) fn blocks(&mut self, lane: u8, lsn: Lsn) -> bool {
        let Some(held) = self.lanes.get_mut(&lane).filter(|held| held.first <= lsn) else { return false };
        if lsn > held.last {
            held.waiting += 1;
            held.last = lsn;
        }
        true
    }

    /// Holds a lane from this record on. If the lane was held from a later record on, it is now held from this one,
    /// with this scope. The later records are evaluated again afterwards.
    pub(super) fn hold(&mut self, lane: u8, lsn: Lsn, scope: impl Into<Scope>) {
        let scope = scope.into();
        let held = self.lanes.entry(lane).or_insert(HeldLane { scope, first: lsn, last: lsn, waiting: 1 });
        if lsn < held.first {
            (held.first, held.scope) = (lsn, scope);
            held.waiting += 1;
        }
    }

    /// Whether a lane waits for a value that is not resolved yet.
    pub(super) fn is_deferred(&self, lane: u8) -> bool {
        self.lanes.get(&lane).is_some_and(|held| matches!(held.scope, Scope::Deferred(_)))
    }

    /// Releases the lanes for which `is_free` returns true. Its arguments are the scope that holds the lane and the
    /// lane's first held record. Returns the first of these records.
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

    /// Marks a partition that confirmed nothing for too long. It holds every lane with a record for it, and is tried
    /// again later.
    pub(super) fn mark_stalled(&mut self, place: TopicPartition, now: Instant) -> Duration {
        let backoff = self.backoff.clone();
        let stalled_partition = self.stalled.entry(place).or_insert(StalledPartition {
            retry_at: now,
            is_on_trial: false,
            backoff,
        });
        let delay = stalled_partition.backoff.delay();
        stalled_partition.retry_at = now + delay;
        stalled_partition.is_on_trial = false;
        delay
    }

    /// Whether the partition is stalled.
    pub(super) fn is_stalled(&self, place: TopicPartition) -> bool {
        self.stalled.get(&place).is_some_and(|stalled_partition| !stalled_partition.is_on_trial)
    }

    /// All stalled partitions.
    pub(super) fn stalled_partitions(&self) -> Vec<TopicPartition> {
        self.stalled
            .iter()
            .filter(|(_, stalled_partition)| !stalled_partition.is_on_trial)
            .map(|(place, _)| *place)
            .collect()
    }

    /// Whether the partition is on trial: one record is sent, and no other until that one is confirmed.
    pub(super) fn is_on_trial(&self, place: TopicPartition) -> bool {
        self.stalled.get(&place).is_some_and(|stalled_partition| stalled_partition.is_on_trial)
    }

    /// Starts a trial of each partition whose delay has expired.
    pub(super) fn retry(&mut self, now: Instant) {
        for stalled_partition in self.stalled.values_mut() {
            stalled_partition.is_on_trial |= now >= stalled_partition.retry_at;
        }
    }

    /// A record of this partition was confirmed. Returns whether the partition's health was in doubt.
    pub(super) fn on_confirmed(&mut self, place: TopicPartition) -> bool {
        !self.stalled.is_empty() && self.stalled.remove(&place).is_some()
    }

    /// Whether no lane is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Number of held records, with the number of the topic that holds them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.lanes.values().map(|held| (held.scope.topic(), held.waiting))
    }

    /// Number of held records by topic, with the reason.
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
    fn a_held_lane_blocks_later_records_and_other_lanes_pass() {
        let mut held = held();
        held.hold(7, Lsn(5), P);
        assert!(held.blocks(7, Lsn(9)) && held.blocks(7, Lsn(9)) && !held.blocks(8, Lsn(9)));
        assert_eq!(held.waiting().collect::<Vec<_>>(), [(0, 2)], "each counted once");
        held.hold(9, Lsn(3), P);
        assert_eq!(held.release(|_, _| false), None);
        assert_eq!(held.release(|scope, _| scope == P.into()), Some(Lsn(3)));
        assert!(held.is_empty() && !held.blocks(7, Lsn(9)));
    }

    /// After a transaction is aborted, records before the one that holds their lane are read again.
    #[test]
    fn records_reread_before_the_holding_record_are_not_skipped() {
        let mut held = held();
        held.hold(7, Lsn(5), P);
        assert!(!held.blocks(7, Lsn(3)) && held.blocks(7, Lsn(5)));
        held.hold(7, Lsn(4), TopicPartition { topic: 1, partition: 0 });
        assert!(!held.blocks(7, Lsn(3)) && held.blocks(7, Lsn(4)));
        assert_eq!(held.release(|scope, _| scope == P.into()), None, "the first one determines the scope");
        assert_eq!(held.release(|scope, _| scope.topic() == 1), Some(Lsn(4)));
    }

    #[test]
    fn a_stalled_partition_recovers_after_a_successful_trial() {
        let (mut held, now) = (held(), Instant::now());
        let delay = held.mark_stalled(P, now);
        held.retry(now);
        assert!(held.is_stalled(P) && !held.is_on_trial(P));
        held.retry(now + delay);
        assert!(!held.is_stalled(P) && held.is_on_trial(P));
        held.mark_stalled(P, now + delay);
        assert!(held.is_stalled(P), "the trial was lost");
        assert!(held.on_confirmed(P) && !held.is_stalled(P) && !held.on_confirmed(P));
    }
}
