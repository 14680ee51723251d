//! Parked partitions and topics, and the records at which their delivery continues.
//!
//! Parked records are not kept in memory: a parked record is simply not done in the log, and is read again. A parked
//! range stores the first LSN that did not pass. Each record that passes moves this LSN on, so that a range that
//! closes again does not repeat the reading. The *main* reader is the worker's cursor at the head of its lanes. The
//! *catch-up* reader is its second cursor. It reads the records of open ranges from their first parked record until
//! it has caught up with the main reader. A parked range has three states: closed (no record passes), open (only the
//! catch-up reader's records pass, in order), removed.
//!
//! A topic that must be sent slowly has its own reader (*topic reader*), so that it delays no other topic.

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
    /// A closed range that begins with this record.
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

/// All parked ranges of one worker.
#[derive(Debug, Default)]
pub(super) struct ParkedPartitions {
    ranges: HashMap<Scope, ParkedRange>,
}

impl ParkedPartitions {
    /// Whether this record may not pass here now. If so, the range includes it.
    pub(super) fn blocks(&mut self, scope: impl Into<Scope>, side: ReadSide, lsn: Lsn) -> bool {
        match self.ranges.get_mut(&scope.into()) {
            None => false,
            Some(range) if range.open && side != ReadSide::Main => false,
            Some(range) => {
                range.extend(lsn);
                true
            }
        }
    }

    /// Closes the range, beginning with this record. While its whole topic is parked, the record joins the topic's
    /// range, because it may belong to another partition when that range opens.
    pub(super) fn hold(&mut self, scope: impl Into<Scope>, lsn: Lsn) {
        let scope = scope.into();
        let whole = Scope::Topic(scope.topic());
        let scope = if self.is_closed(whole) { whole } else { scope };
        let range = self.ranges.entry(scope).or_insert_with(|| ParkedRange::new(lsn));
        range.open = false;
        range.extend(lsn);
    }

    /// Merges all parked ranges of the topic into one closed range over the whole topic, if there are any.
    pub(super) fn merge_topic(&mut self, topic: usize) {
        let mut whole: Option<ParkedRange> = None;
        self.ranges.retain(|scope, range| {
            let is_of_topic = scope.topic() == topic;
            if is_of_topic {
                let whole = whole.get_or_insert(ParkedRange { waiting: 0, ..ParkedRange::new(range.first) });
                whole.first = whole.first.min(range.first);
                whole.last = whole.last.max(range.last);
                whole.waiting += range.waiting;
            }
            !is_of_topic
        });
        self.ranges.extend(whole.map(|range| (Scope::Topic(topic), range)));
    }

    /// Lets the catch-up reader pass. Returns the record at which it must begin.
    pub(super) fn open(&mut self, scope: impl Into<Scope>) -> Option<Lsn> {
        let range = self.ranges.get_mut(&scope.into())?;
        range.open = true;
        Some(range.first)
    }

    /// The scopes of the closed ranges.
    pub(super) fn closed(&self) -> Vec<Scope> {
        self.ranges.iter().filter(|(_, range)| !range.open).map(|(scope, _)| *scope).collect()
    }

    /// The catch-up reader passed a record through its parked ranges.
    pub(super) fn on_passed(&mut self, scope: impl Into<Scope>, lsn: Lsn) {
        let scope = scope.into();
        let whole = Scope::Topic(scope.topic());
        for scope in [Some(scope), Some(whole).filter(|whole| *whole != scope)].into_iter().flatten() {
            if let Some(range) = self.ranges.get_mut(&scope).filter(|range| range.open) {
                range.waiting = range.waiting.saturating_sub(1);
                range.first = range.first.max(lsn.next());
            }
        }
    }

    /// The reader of these topics has caught up with the main reader, so their open ranges are removed.
    pub(super) fn on_caught_up(&mut self, is_of_side: impl Fn(usize) -> bool) {
        self.ranges.retain(|scope, range| !range.open || !is_of_side(scope.topic()));
    }

    /// Whether no record passes here now.
    pub(super) fn is_closed(&self, scope: impl Into<Scope>) -> bool {
        self.ranges.get(&scope.into()).is_some_and(|range| !range.open)
    }

    /// Whether the catch-up reader of these topics is needed.
    pub(super) fn any_open(&self, is_of_side: impl Fn(usize) -> bool) -> bool {
        self.ranges.iter().any(|(scope, range)| range.open && is_of_side(scope.topic()))
    }

    /// Whether a catch-up reader is needed for any other scope.
    pub(super) fn any_other_open(&self, scope: impl Into<Scope>) -> bool {
        let scope = scope.into();
        self.ranges.iter().any(|(other, range)| range.open && *other != scope)
    }

    /// Number of parked records, with the number of their topic. The number is approximate while they are released.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.ranges.iter().map(|(scope, range)| (scope.topic(), range.waiting))
    }

    /// Number of parked records by topic, with the reason.
    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedTopic> {
        self.ranges.iter().map(|(scope, range)| (scope.topic(), range.waiting, scope.reason()))
    }

    /// Whether no record is parked.
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
    fn an_open_range_blocks_only_the_main_reader() {
        let mut partitions = ParkedPartitions::default();
        assert!(!partitions.blocks(P, ReadSide::Main, Lsn(5)));
        partitions.hold(P, Lsn(5));
        assert!(
            partitions.blocks(P, ReadSide::Main, Lsn(9)) && partitions.blocks(P, ReadSide::CatchUp, Lsn(5))
        );
        assert_eq!(partitions.open(P), Some(Lsn(5)));
        assert!(!partitions.blocks(P, ReadSide::CatchUp, Lsn(5)));
        assert!(partitions.blocks(P, ReadSide::Main, Lsn(10)), "it would overtake 5 and 9");
        partitions.on_caught_up(|_| true);
        assert!(!partitions.blocks(P, ReadSide::Main, Lsn(11)));
    }

    #[test]
    fn a_failure_below_the_parked_records_moves_the_start_back() {
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(50));
        partitions.hold(P, Lsn(7));
        assert_eq!(partitions.open(P), Some(Lsn(7)));
    }

    #[test]
    fn a_range_closed_again_survives_the_catch_up() {
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(5));
        partitions.open(P);
        partitions.hold(P, Lsn(6));
        partitions.on_caught_up(|_| true);
        assert!(partitions.is_closed(P));
        assert_eq!(partitions.open(P), Some(Lsn(5)));
    }

    /// Regression: such a record was counted twice, in the range of its partition and in that of its topic.
    #[test]
    fn a_record_that_passes_its_topics_range_counts_once() {
        let topic = Scope::Topic(0);
        let mut partitions = ParkedPartitions::default();
        (5..=8).for_each(|lsn| partitions.hold(topic, Lsn(lsn)));
        partitions.open(topic);
        partitions.on_passed(topic, Lsn(5));
        assert_eq!(partitions.waiting().collect::<Vec<_>>(), [(0, 3)]);
    }

    /// Regression: a partition that repeatedly became unavailable had everything read again from the first record
    /// ever parked.
    #[test]
    fn a_range_that_closes_again_begins_behind_passed_records() {
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(5));
        partitions.blocks(P, ReadSide::Main, Lsn(6));
        partitions.blocks(P, ReadSide::Main, Lsn(9));
        partitions.open(P);
        partitions.on_passed(P, Lsn(5));
        partitions.on_passed(P, Lsn(6));
        partitions.hold(P, Lsn(9));
        assert_eq!(partitions.waiting().map(|(_, n)| n).sum::<u64>(), 1);
        assert_eq!(partitions.open(P), Some(Lsn(7)));
        partitions.hold(P, Lsn(6));
        assert_eq!(partitions.open(P), Some(Lsn(6)), "the producer returned it");
    }

    /// Regression: records parked for partition 3 of 4 were overtaken by records of the same keys, sent to partition
    /// 5 of 8.
    #[test]
    fn merging_a_topic_starts_at_its_first_parked_record() {
        let (other_partition, other_topic) =
            (TopicPartition { topic: 0, partition: 1 }, TopicPartition { topic: 1, partition: 3 });
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(50));
        partitions.hold(other_partition, Lsn(20));
        partitions.hold(other_topic, Lsn(10));
        partitions.open(other_partition);
        partitions.merge_topic(0);
        assert!(
            !partitions.is_closed(P)
                && !partitions.is_closed(other_partition)
                && partitions.is_closed(other_topic)
        );
        let whole = Scope::Topic(0);
        assert!(
            partitions.blocks(whole, ReadSide::Main, Lsn(60))
                && partitions.blocks(whole, ReadSide::CatchUp, Lsn(20))
        );
        // The producer returns the records that were in flight under the old number of partitions.
        partitions.hold(P, Lsn(7));
        assert!(!partitions.is_closed(P), "it waits with the topic");
        assert_eq!(partitions.open(whole), Some(Lsn(7)));
        assert!(
            !partitions.blocks(whole, ReadSide::CatchUp, Lsn(7))
                && partitions.blocks(whole, ReadSide::Main, Lsn(61))
        );
    }

    #[test]
    fn a_topic_reader_keeps_its_ranges_when_others_catch_up() {
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(5));
        partitions.open(P);
        partitions.on_caught_up(|topic| topic != 0);
        assert!(partitions.any_open(|_| true) && !partitions.any_open(|topic| topic != 0));
        assert!(
            partitions.blocks(P, ReadSide::Main, Lsn(6)) && !partitions.blocks(P, ReadSide::Topic(0), Lsn(5))
        );
    }

    #[test]
    fn a_parked_record_is_counted_once_despite_repeated_reads() {
        let mut partitions = ParkedPartitions::default();
        partitions.hold(P, Lsn(5));
        partitions.blocks(P, ReadSide::CatchUp, Lsn(5));
        partitions.blocks(P, ReadSide::Main, Lsn(8));
        partitions.blocks(P, ReadSide::CatchUp, Lsn(8));
        assert_eq!(partitions.waiting().map(|(_, n)| n).sum::<u64>(), 2);
    }
}
