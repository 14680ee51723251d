//! Records in flight, and the limits on them.
//!
//! The in-flight limit bounds memory. Forebay must bound what librdkafka holds, because librdkafka never gives up on
//! a record. A partition may use half of the worker's remaining budget, so that stalled or slow partitions leave some
//! for the others. A record that exceeds the limit of its worker even when little is in flight takes its budget from
//! [`ExtraRoom`], which all workers share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::partition_in_flight::PartitionInFlight;
use crate::drain::scope::TopicPartition;
use crate::drain::usage::{ExtraRoom, MAX_IN_FLIGHT, Usage};
use crate::wal::Lsn;

/// A partition may use one in this many parts of the remaining budget.
const PARTITION_SHARE: u64 = 2;

/// The records one worker has in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    records: BTreeMap<Lsn, InFlightRecord>,
    partitions: HashMap<TopicPartition, PartitionInFlight>,
    used: Usage,
    limit: Usage,
    extra_room: Arc<ExtraRoom>,
    /// Budget reserved for a record that was not added yet.
    reserved: u64,
    /// The record that uses the shared extra budget.
    oversized: Option<Lsn>,
    confirmed: u64,
}

impl InFlight {
    /// Creates one worker's share of the budget of `workers` workers.
    pub(super) fn share(workers: u64, extra: &Arc<ExtraRoom>) -> Self {
        Self {
            records: BTreeMap::new(),
            partitions: HashMap::new(),
            used: Usage::default(),
            limit: Usage { records: MAX_IN_FLIGHT.records / workers, bytes: MAX_IN_FLIGHT.bytes / workers },
            extra_room: Arc::clone(extra),
            reserved: 0,
            oversized: None,
            confirmed: 0,
        }
    }

    /// The maximum the worker may have in flight.
    pub(super) fn limit(&self) -> Usage {
        self.limit
    }

    /// Whether the worker's budget allows one more record. That record is the next to be added.
    pub(super) fn has_room(&mut self, bytes: u64) -> bool {
        self.extra_room.release(std::mem::take(&mut self.reserved));
        if self.used.has_room(bytes, self.limit) {
            return true;
        }
        if self.oversized.is_some() || !self.extra_room.try_acquire(bytes) {
            return false;
        }
        self.reserved = bytes;
        true
    }

    /// Whether the partition's budget allows one more record. `cap` is the batch limit in bytes that was learned for
    /// its topic.
    pub(super) fn has_room_at(&self, place: TopicPartition, bytes: u64, cap: u64) -> bool {
        let Some(part) = self.partitions.get(&place) else { return true };
        let left = |limit: u64, used: u64| limit.saturating_sub(used) / PARTITION_SHARE;
        let limit = Usage {
            records: left(self.limit.records, self.used.records),
            bytes: left(self.limit.bytes, self.used.bytes).min(cap),
        };
        part.usage.fits_or_is_first(bytes, limit)
    }

    /// A record of this partition has to wait, and its worker with it. Returns whether the partition is slow: for
    /// some time no other partition had work, although the others confirm their records.
    pub(super) fn on_blocked(&mut self, place: TopicPartition, now: Instant) -> bool {
        let busy = self.partitions.iter().any(|(other, part)| *other != place && part.is_active(now));
        self.partitions.get_mut(&place).is_some_and(|part| part.on_blocked(busy, self.confirmed, now))
    }

    /// Whether this partition was slow and still has many records in flight.
    pub(super) fn is_slow(&self, place: TopicPartition) -> bool {
        self.partitions.get(&place).is_some_and(PartitionInFlight::is_slow)
    }

    /// Whether any record of this partition whose order matters is in flight.
    pub(super) fn is_busy(&self, place: TopicPartition) -> bool {
        self.partitions.get(&place).is_some_and(|part| part.usage.records > part.unordered)
    }

    /// Whether a single record of this partition is in flight apart from the others, and its order matters.
    pub(super) fn has_solo_record(&self, place: TopicPartition) -> bool {
        self.partitions.get(&place).is_some_and(|part| part.solo > part.unordered)
    }

    /// Whether any record of this topic is in flight.
    pub(super) fn is_topic_busy(&self, topic: usize) -> bool {
        self.partitions.iter().any(|(place, part)| place.topic == topic && part.usage.records > 0)
    }

    /// Whether records of this topic were sent to a partition as a batch and it has confirmed none for too long.
    pub(super) fn has_topic_stalled(&self, topic: usize, now: Instant) -> bool {
        let is_stalled = |part: &PartitionInFlight| part.usage.records > part.solo && part.has_stalled(now);
        self.partitions.iter().any(|(place, part)| place.topic == topic && is_stalled(part))
    }

    /// Whether this partition has records in flight and has confirmed none for too long.
    pub(super) fn has_stalled(&self, place: TopicPartition, now: Instant) -> bool {
        self.partitions.get(&place).is_some_and(|part| part.has_stalled(now))
    }

    /// Whether this partition is parked.
    pub(super) fn is_parked(&self, place: TopicPartition) -> bool {
        self.partitions.get(&place).is_some_and(|part| part.parked)
    }

    /// Partitions with records in flight that have confirmed none for this long.
    pub(super) fn stalled_for(&self, long: Duration, now: Instant) -> Vec<TopicPartition> {
        let is_stalled = |part: &PartitionInFlight| now.saturating_duration_since(part.progress_at) >= long;
        self.partitions.iter().filter(|(_, part)| is_stalled(part)).map(|(place, _)| *place).collect()
    }

    /// Parks this partition until it confirms a record.
    pub(super) fn park(&mut self, place: TopicPartition) {
        if let Some(part) = self.partitions.get_mut(&place) {
            part.parked = true;
        }
    }

    /// A record was handed to a producer.
    pub(super) fn add(&mut self, lsn: Lsn, flight: InFlightRecord, now: Instant) {
        let confirmed = self.confirmed;
        let part = self
            .partitions
            .entry(flight.topic_partition)
            .or_insert_with(|| PartitionInFlight::new(confirmed, now));
        part.add(&flight);
        if self.reserved > 0 {
            self.oversized = Some(lsn);
            self.reserved = 0;
        } else {
            self.used.add(flight.bytes);
        }
        self.records.insert(lsn, flight);
    }

    /// A record was confirmed or returned.
    pub(super) fn remove(&mut self, lsn: Lsn) -> Option<InFlightRecord> {
        let flight = self.records.remove(&lsn)?;
        if self.oversized == Some(lsn) {
            self.oversized = None;
            self.extra_room.release(flight.bytes);
        } else {
            self.used.sub(flight.bytes);
        }
        let part = self.partitions.get_mut(&flight.topic_partition)?;
        part.usage.sub(flight.bytes);
        part.solo -= u64::from(flight.solo);
        part.unordered -= u64::from(flight.unordered);
        if part.usage.records == 0 {
            self.partitions.remove(&flight.topic_partition);
        }
        Some(flight)
    }

    /// The partition confirmed a record, so it is not stalled.
    pub(super) fn on_progress(&mut self, place: TopicPartition, now: Instant) {
        self.confirmed += 1;
        if let Some(part) = self.partitions.get_mut(&place) {
            part.on_confirmed(now);
        }
    }

    /// Whether this record is in flight.
    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        self.records.contains_key(&lsn)
    }

    /// The number of records in flight.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The records sent through the producer for single records (`solo`), or the others.
    pub(super) fn lsns_of(&self, solo: bool) -> Vec<Lsn> {
        self.records.iter().filter(|(_, flight)| flight.solo == solo).map(|(lsn, _)| *lsn).collect()
    }

    /// The number of those records.
    pub(super) fn count_of(&self, solo: bool) -> usize {
        let singles: u64 = self.partitions.values().map(|part| part.solo).sum();
        let singles = singles as usize;
        if solo { singles } else { self.records.len() - singles }
    }

    /// The lowest record whose partition is not parked.
    pub(super) fn lowest_waiting(&self) -> Option<Lsn> {
        let parked = |place| self.partitions.get(place).is_some_and(|part| part.parked);
        self.records.iter().find(|(_, flight)| !parked(&flight.topic_partition)).map(|(lsn, _)| *lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::partition_in_flight::{SLOW_AFTER, STALLED_AFTER};
    use crate::units::Timestamp;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition { topic: 0, partition }
    }

    fn send(tracker: &mut InFlight, lsn: u64, partition: i32, bytes: u64, now: Instant) {
        let flight = InFlightRecord {
            topic_partition: place(partition),
            bytes,
            log_bytes: 0,
            accepted_at: Timestamp(0),
            attempts: 1,
            has_key: true,
            solo: false,
            unordered: false,
        };
        tracker.add(Lsn(lsn), flight, now);
    }

    fn tracker(workers: u64) -> InFlight {
        InFlight::share(workers, &Arc::default())
    }

    /// Adds records of this partition up to the limit.
    fn fill(tracker: &mut InFlight, lsn: &mut u64, partition: i32, bytes: u64, now: Instant) -> u64 {
        let from = *lsn;
        while tracker.has_room_at(place(partition), bytes, u64::MAX) && tracker.has_room(bytes) {
            *lsn += 1;
            send(tracker, *lsn, partition, bytes, now);
        }
        *lsn - from
    }

    #[test]
    fn single_keyless_records_block_no_others() {
        let (now, mut tracker) = (Instant::now(), tracker(1));
        send(&mut tracker, 1, 0, 100, now);
        let flight = *tracker.records.get(&Lsn(1)).unwrap();
        tracker.remove(Lsn(1));
        for (lsn, loose) in [(2, true), (3, true), (4, false)] {
            assert!(!tracker.is_busy(place(0)) && !tracker.has_solo_record(place(0)), "before {lsn}");
            tracker.add(Lsn(lsn), InFlightRecord { solo: true, unordered: loose, ..flight }, now);
        }
        assert!(tracker.is_busy(place(0)) && tracker.has_solo_record(place(0)));
        tracker.remove(Lsn(4));
        assert!(!tracker.is_busy(place(0)) && tracker.count_of(true) == 2);
    }

    #[test]
    fn stalled_partitions_leave_budget_for_the_others() {
        let (now, mut lsn, mut tracker) = (Instant::now(), 0, tracker(2));
        assert_eq!(fill(&mut tracker, &mut lsn, 0, 100, now), MAX_IN_FLIGHT.records / 2 / 3);
        for partition in 1..12 {
            assert!(fill(&mut tracker, &mut lsn, partition, 100, now) > 50, "partition {partition}");
        }
    }

    /// Regression: the total was 256 MiB with 128 workers, and twice the limit with stalled partitions.
    #[test]
    fn records_in_flight_are_bounded_for_any_number_of_workers() {
        let now = Instant::now();
        for workers in [1, 2, 13, 32, 128] {
            for bytes in [600, 100_000, 1 << 20] {
                let extra = Arc::default();
                let (mut lsn, mut least) = (0, u64::MAX);
                for _ in 0..workers {
                    let mut tracker = InFlight::share(workers, &extra);
                    for partition in 0..100 {
                        fill(&mut tracker, &mut lsn, partition, bytes, now);
                        tracker.park(place(partition));
                    }
                    least = least.min(tracker.used.records);
                }
                assert!(lsn * bytes <= 24 << 20, "{workers} workers, records of {bytes} bytes: {lsn}");
                assert!(
                    least * bytes >= MAX_IN_FLIGHT.bytes / workers / 4 || bytes > 600,
                    "{workers} workers: {least}"
                );
            }
        }
    }

    #[test]
    fn an_oversized_record_passes_alone_and_releases_its_budget() {
        let (now, extra) = (Instant::now(), Arc::default());
        let mut trackers = [InFlight::share(128, &extra), InFlight::share(128, &extra)];
        assert!(trackers[0].has_room(50 << 20) && trackers[0].has_room(50 << 20), "requested twice");
        send(&mut trackers[0], 1, 0, 50 << 20, now);
        assert!(
            !trackers[0].has_room(1 << 20) && !trackers[1].has_room(1 << 20) && trackers[0].has_room(100)
        );
        trackers[0].remove(Lsn(1));
        assert!(trackers[1].has_room(50 << 20));
    }

    /// Records of partition 0 are confirmed one per 40 ms, those of partition 1 immediately.
    #[test]
    fn a_partition_that_confirms_rarely_while_others_idle_is_slow() {
        let (mut now, mut lsn, mut tracker) = (Instant::now(), 0, tracker(1));
        fill(&mut tracker, &mut lsn, 0, 100, now);
        let mut oldest = 1;
        for turn in 0.. {
            lsn += 1;
            send(&mut tracker, lsn, 1, 100, now);
            tracker.remove(Lsn(lsn));
            tracker.on_progress(place(1), now);
            assert!(turn < 10, "its worker waits indefinitely");
            let is_slow = tracker.on_blocked(place(0), now);
            now += Duration::from_millis(40);
            if is_slow || tracker.on_blocked(place(0), now) {
                break;
            }
            tracker.remove(Lsn(oldest));
            tracker.on_progress(place(0), now);
            oldest += 1;
            lsn += 1;
            send(&mut tracker, lsn, 0, 100, now);
        }
        assert!(tracker.is_slow(place(0)));
        while tracker.is_slow(place(0)) {
            tracker.remove(Lsn(oldest));
            oldest += 1;
        }
        assert!(oldest > MAX_IN_FLIGHT.records / 8, "its budget has free space before it is tried again");
    }

    #[test]
    fn a_partition_is_slow_only_compared_with_idle_others() {
        let (mut now, mut lsn, mut tracker) = (Instant::now(), 0, tracker(1));
        fill(&mut tracker, &mut lsn, 0, 100, now);
        for _ in 0..10 {
            assert!(!tracker.on_blocked(place(0), now), "no other partition exists");
            now += SLOW_AFTER;
        }
        let (mut lsn, mut tracker) = (0, InFlight::share(1, &Arc::default()));
        fill(&mut tracker, &mut lsn, 0, 100, now);
        send(&mut tracker, lsn + 1, 1, 100, now);
        for _ in 0..100 {
            tracker.on_progress(place(1), now);
            assert!(!tracker.on_blocked(place(0), now), "the other is busy");
            now += SLOW_AFTER / 2;
        }
    }

    #[test]
    fn a_stalled_partition_is_parked_until_it_confirms_a_record() {
        let start = Instant::now();
        let mut tracker = tracker(1);
        send(&mut tracker, 1, 0, 100, start);
        send(&mut tracker, 2, 0, 1, start);
        let late = start + STALLED_AFTER;
        assert!(tracker.has_stalled(place(0), late));
        tracker.park(place(0));
        assert!(tracker.is_parked(place(0)));
        assert_eq!(tracker.lowest_waiting(), None);
        tracker.remove(Lsn(2));
        tracker.on_progress(place(0), late);
        assert!(!tracker.is_parked(place(0)) && !tracker.has_stalled(place(0), late));
        assert_eq!(tracker.lowest_waiting(), Some(Lsn(1)));
    }
}
