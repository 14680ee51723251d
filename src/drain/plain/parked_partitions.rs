//! Which partitions and topics are held back, and from where their records go on.
//!
//! The log is the memory: a record held back is simply not done. A gate remembers the first LSN that did not pass; each
//! record that passes moves it on, so that a gate that closes again costs no second reading of what passed.
//! The *main* side is the worker's cursor at the head of its lanes; the *catch-up* side is its second cursor, which
//! takes the records of open gates from where they were held until it meets the main one. A gate passes through
//! three lives: closed (nobody passes), open (only the catch-up side passes, in order), gone.
//!
//! A topic that must go slowly has a catch-up side of its own (*aside*), so that it delays no other topic.

use std::collections::HashMap;

use crate::drain::lane_reader::ReadSide;
use crate::drain::monitor::ParkedTopic;
use crate::drain::scope::Scope;
use crate::wal::Lsn;

#[derive(Debug)]
struct ParkedRange {
    first: Lsn,
    last: Lsn,
    waiting: u64,
    open: bool,
}

impl ParkedRange {
    /// Closed, for this record first.
    fn new(lsn: Lsn) -> Self {
        Self { first: lsn, last: lsn, waiting: 1, open: false }
    }

    fn extend(&mut self, lsn: Lsn) {
        if lsn < self.first || lsn > self.last {
            self.waiting += 1;
        }
        self.first = self.first.min(lsn);
        self.last = self.last.max(lsn);
    }
}

/// All gates of one worker.
#[derive(Debug, Default)]
pub(super) struct ParkedPartitions {
    ranges: HashMap<Scope, ParkedRange>,
}

impl ParkedPartitions {
    /// Whether this record may not pass here now; if so, the gate remembers it.
    pub(super) fn blocks(&mut self, scope: impl Into<Scope>, side: ReadSide, lsn: Lsn) -> bool {
        match self.ranges.get_mut(&scope.into()) {
            None => false,
            Some(gate) if gate.open && side != ReadSide::Main => false,
            Some(gate) => {
                gate.extend(lsn);
                true
            }
        }
    }

    /// Closes the gate, for this record first. While its whole topic is held, the record waits there: by the time that
    /// opens, it may belong to another partition.
    pub(super) fn hold(&mut self, scope: impl Into<Scope>, lsn: Lsn) {
        let scope = scope.into();
        let whole = Scope::Topic(scope.topic());
        let scope = if self.is_closed(whole) { whole } else { scope };
        let gate = self.ranges.entry(scope).or_insert_with(|| ParkedRange::new(lsn));
        gate.open = false;
        gate.extend(lsn);
    }

    /// Closes one gate over the whole topic and moves to it all that is held of the topic, if anything is.
    pub(super) fn merge_topic(&mut self, topic: usize) {
        let mut whole: Option<ParkedRange> = None;
        self.ranges.retain(|scope, gate| {
            let is_of_topic = scope.topic() == topic;
            if is_of_topic {
                let whole = whole.get_or_insert(ParkedRange { waiting: 0, ..ParkedRange::new(gate.first) });
                whole.first = whole.first.min(gate.first);
                whole.last = whole.last.max(gate.last);
                whole.waiting += gate.waiting;
            }
            !is_of_topic
        });
        self.ranges.extend(whole.map(|gate| (Scope::Topic(topic), gate)));
    }

    /// Lets the catch-up side pass; says from where it must begin.
    pub(super) fn open(&mut self, scope: impl Into<Scope>) -> Option<Lsn> {
        let gate = self.ranges.get_mut(&scope.into())?;
        gate.open = true;
        Some(gate.first)
    }

    /// Those that are closed.
    pub(super) fn closed(&self) -> Vec<Scope> {
        self.ranges.iter().filter(|(_, gate)| !gate.open).map(|(scope, _)| *scope).collect()
    }

    /// The catch-up side took a record through its gates.
    pub(super) fn on_passed(&mut self, scope: impl Into<Scope>, lsn: Lsn) {
        let scope = scope.into();
        let whole = Scope::Topic(scope.topic());
        for scope in [Some(scope), Some(whole).filter(|whole| *whole != scope)].into_iter().flatten() {
            if let Some(gate) = self.ranges.get_mut(&scope).filter(|gate| gate.open) {
                gate.waiting = gate.waiting.saturating_sub(1);
                gate.first = gate.first.max(lsn.next());
            }
        }
    }

    /// The catch-up side of these topics met the main one: their open gates are no longer needed.
    pub(super) fn on_caught_up(&mut self, is_of_side: impl Fn(usize) -> bool) {
        self.ranges.retain(|scope, gate| !gate.open || !is_of_side(scope.topic()));
    }

    /// Whether nobody passes here now.
    pub(super) fn is_closed(&self, scope: impl Into<Scope>) -> bool {
        self.ranges.get(&scope.into()).is_some_and(|gate| !gate.open)
    }

    /// Whether the catch-up side of these topics is needed.
    pub(super) fn any_open(&self, is_of_side: impl Fn(usize) -> bool) -> bool {
        self.ranges.iter().any(|(scope, gate)| gate.open && is_of_side(scope.topic()))
    }

    /// Whether a catch-up side is needed for any scope but this one.
    pub(super) fn any_other_open(&self, scope: impl Into<Scope>) -> bool {
        let scope = scope.into();
        self.ranges.iter().any(|(other, gate)| gate.open && *other != scope)
    }

    /// Records held back, with the number of their topic. About right while they pass.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.ranges.iter().map(|(scope, gate)| (scope.topic(), gate.waiting))
    }

    /// The same with the reason.
    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedTopic> {
        self.ranges.iter().map(|(scope, gate)| (scope.topic(), gate.waiting, scope.reason()))
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::scope::TopicPartition;

    const P: TopicPartition = TopicPartition { topic: 0, partition: 3 };

    #[test]
    fn a_closed_gate_stops_both_sides_and_an_open_one_only_the_main_side() {
        let mut gates = ParkedPartitions::default();
        assert!(!gates.blocks(P, ReadSide::Main, Lsn(5)));
        gates.hold(P, Lsn(5));
        assert!(gates.blocks(P, ReadSide::Main, Lsn(9)) && gates.blocks(P, ReadSide::CatchUp, Lsn(5)));
        assert_eq!(gates.open(P), Some(Lsn(5)));
        assert!(!gates.blocks(P, ReadSide::CatchUp, Lsn(5)));
        assert!(gates.blocks(P, ReadSide::Main, Lsn(10)), "it would overtake 5 and 9");
        gates.on_caught_up(|_| true);
        assert!(!gates.blocks(P, ReadSide::Main, Lsn(11)));
    }

    #[test]
    fn a_failure_below_what_was_held_moves_the_beginning_back() {
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(50));
        gates.hold(P, Lsn(7));
        assert_eq!(gates.open(P), Some(Lsn(7)));
    }

    #[test]
    fn what_was_closed_again_survives_the_meeting() {
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(5));
        gates.open(P);
        gates.hold(P, Lsn(6));
        gates.on_caught_up(|_| true);
        assert!(gates.is_closed(P));
        assert_eq!(gates.open(P), Some(Lsn(5)));
    }

    /// It counted twice: as the gate of the record and as that of its topic.
    #[test]
    fn a_record_that_passes_the_gate_of_its_topic_counts_once() {
        let topic = Scope::Topic(0);
        let mut gates = ParkedPartitions::default();
        (5..=8).for_each(|lsn| gates.hold(topic, Lsn(lsn)));
        gates.open(topic);
        gates.on_passed(topic, Lsn(5));
        assert_eq!(gates.waiting().collect::<Vec<_>>(), [(0, 3)]);
    }

    /// A partition that comes and goes had everything read again from the first record that was ever held.
    #[test]
    fn a_gate_that_closes_again_begins_behind_what_passed() {
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(5));
        gates.blocks(P, ReadSide::Main, Lsn(6));
        gates.blocks(P, ReadSide::Main, Lsn(9));
        gates.open(P);
        gates.on_passed(P, Lsn(5));
        gates.on_passed(P, Lsn(6));
        gates.hold(P, Lsn(9));
        assert_eq!(gates.waiting().map(|(_, n)| n).sum::<u64>(), 1);
        assert_eq!(gates.open(P), Some(Lsn(7)));
        gates.hold(P, Lsn(6));
        assert_eq!(gates.open(P), Some(Lsn(6)), "it came back from the producer");
    }

    /// Records held for partition 3 of 4 were overtaken by records of the same keys, sent to partition 5 of 8.
    #[test]
    fn what_is_held_of_a_topic_moves_to_one_gate_that_begins_at_the_first_record() {
        let (other_partition, other_topic) =
            (TopicPartition { topic: 0, partition: 1 }, TopicPartition { topic: 1, partition: 3 });
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(50));
        gates.hold(other_partition, Lsn(20));
        gates.hold(other_topic, Lsn(10));
        gates.open(other_partition);
        gates.merge_topic(0);
        assert!(!gates.is_closed(P) && !gates.is_closed(other_partition) && gates.is_closed(other_topic));
        let whole = Scope::Topic(0);
        assert!(
            gates.blocks(whole, ReadSide::Main, Lsn(60)) && gates.blocks(whole, ReadSide::CatchUp, Lsn(20))
        );
        // What was in flight under the old number of partitions comes back.
        gates.hold(P, Lsn(7));
        assert!(!gates.is_closed(P), "it waits with the topic");
        assert_eq!(gates.open(whole), Some(Lsn(7)));
        assert!(
            !gates.blocks(whole, ReadSide::CatchUp, Lsn(7)) && gates.blocks(whole, ReadSide::Main, Lsn(61))
        );
    }

    #[test]
    fn a_topic_aside_keeps_its_open_gates_when_the_others_have_caught_up() {
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(5));
        gates.open(P);
        gates.on_caught_up(|topic| topic != 0);
        assert!(gates.any_open(|_| true) && !gates.any_open(|topic| topic != 0));
        assert!(gates.blocks(P, ReadSide::Main, Lsn(6)) && !gates.blocks(P, ReadSide::Topic(0), Lsn(5)));
    }

    #[test]
    fn records_held_are_counted_once_however_often_they_come_by() {
        let mut gates = ParkedPartitions::default();
        gates.hold(P, Lsn(5));
        gates.blocks(P, ReadSide::CatchUp, Lsn(5));
        gates.blocks(P, ReadSide::Main, Lsn(8));
        gates.blocks(P, ReadSide::CatchUp, Lsn(8));
        assert_eq!(gates.waiting().map(|(_, n)| n).sum::<u64>(), 2);
    }
}
