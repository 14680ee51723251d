//! What is in flight, and how much more may be.
//!
//! The window bounds memory: what librdkafka holds is ours to bound, because it never gives up on a record. A partition
//! may use half of what the window has left, so that partitions that hang or are slow leave room for the others. A record
//! that its worker's window has no room for, however little is in flight, takes room that all workers share ([`Extra`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::part::Part;
use crate::drain::scope::TopicPartition;
use crate::drain::usage::{Extra, Usage, WINDOW};
use crate::wal::Lsn;

/// A partition's part of what its window has left.
const PARTS: u64 = 2;

/// The records one worker has in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    flights: BTreeMap<Lsn, InFlightRecord>,
    parts: HashMap<TopicPartition, Part>,
    used: Usage,
    limit: Usage,
    extra: Arc<Extra>,
    /// What is taken of it for a record that was not added yet.
    reserved: u64,
    /// The record that takes extra room.
    large: Option<Lsn>,
    confirmed: u64,
}

impl InFlight {
    /// The share of one of so many workers.
    pub(super) fn share(workers: u64, extra: &Arc<Extra>) -> Self {
        Self {
            flights: BTreeMap::new(),
            parts: HashMap::new(),
            used: Usage::default(),
            limit: Usage { records: WINDOW.records / workers, bytes: WINDOW.bytes / workers },
            extra: Arc::clone(extra),
            reserved: 0,
            large: None,
            confirmed: 0,
        }
    }

    /// What the worker may have in flight.
    pub(super) fn limit(&self) -> Usage {
        self.limit
    }

    /// Whether the worker may have one more record in flight. It is the next to be added.
    pub(super) fn has_room(&mut self, bytes: u64) -> bool {
        self.extra.give_back(std::mem::take(&mut self.reserved));
        if self.used.has_room(bytes, self.limit) {
            return true;
        }
        if self.large.is_some() || !self.extra.take(bytes) {
            return false;
        }
        self.reserved = bytes;
        true
    }

    /// Whether this partition may. `cap`: what was learned about its topic, in bytes.
    pub(super) fn has_room_at(&self, place: TopicPartition, bytes: u64, cap: u64) -> bool {
        let Some(part) = self.parts.get(&place) else { return true };
        let left = |limit: u64, used: u64| limit.saturating_sub(used) / PARTS;
        let limit = Usage {
            records: left(self.limit.records, self.used.records),
            bytes: left(self.limit.bytes, self.used.bytes).min(cap),
        };
        part.load.takes(bytes, limit)
    }

    /// A record of this partition has to wait, and its worker with it. Says whether the partition is slow: for some time
    /// no other one was at work, although others confirm what they are sent.
    pub(super) fn refuse(&mut self, place: TopicPartition, now: Instant) -> bool {
        let busy = self.parts.iter().any(|(other, part)| *other != place && part.is_at_work(now));
        self.parts.get_mut(&place).is_some_and(|part| part.refuse(busy, self.confirmed, now))
    }

    /// Whether this partition was slow and still has much in flight.
    pub(super) fn is_slow(&self, place: TopicPartition) -> bool {
        self.parts.get(&place).is_some_and(Part::is_slow)
    }

    /// Whether anything of this partition is in flight that has an order to keep.
    pub(super) fn is_busy(&self, place: TopicPartition) -> bool {
        self.parts.get(&place).is_some_and(|part| part.load.records > part.loose)
    }

    /// Whether a single record of this partition is in flight apart from the others, and has an order to keep.
    pub(super) fn is_solo(&self, place: TopicPartition) -> bool {
        self.parts.get(&place).is_some_and(|part| part.solo > part.loose)
    }

    /// Whether anything of this topic is in flight.
    pub(super) fn is_topic_busy(&self, topic: usize) -> bool {
        self.parts.iter().any(|(place, part)| place.topic == topic && part.load.records > 0)
    }

    /// Whether records of this topic went to a partition together and it confirmed none for too long.
    pub(super) fn has_topic_stalled(&self, topic: usize, now: Instant) -> bool {
        let hangs = |part: &Part| part.load.records > part.solo && part.has_stalled(now);
        self.parts.iter().any(|(place, part)| place.topic == topic && hangs(part))
    }

    /// Whether this partition has records in flight and confirmed none for too long.
    pub(super) fn has_stalled(&self, place: TopicPartition, now: Instant) -> bool {
        self.parts.get(&place).is_some_and(|part| part.has_stalled(now))
    }

    /// Whether this partition is parked.
    pub(super) fn is_parked(&self, place: TopicPartition) -> bool {
        self.parts.get(&place).is_some_and(|part| part.parked)
    }

    /// Partitions with records in flight that confirmed none for this long.
    pub(super) fn stalled_for(&self, long: Duration, now: Instant) -> Vec<TopicPartition> {
        let hangs = |part: &Part| now.saturating_duration_since(part.progress) >= long;
        self.parts.iter().filter(|(_, part)| hangs(part)).map(|(place, _)| *place).collect()
    }

    /// This partition hangs until it confirms something.
    pub(super) fn park(&mut self, place: TopicPartition) {
        if let Some(part) = self.parts.get_mut(&place) {
            part.parked = true;
        }
    }

    /// A record was handed over.
    pub(super) fn add(&mut self, lsn: Lsn, flight: InFlightRecord, now: Instant) {
        let confirmed = self.confirmed;
        let part = self.parts.entry(flight.topic_partition).or_insert_with(|| Part::new(confirmed, now));
        part.add(&flight);
        if self.reserved > 0 {
            self.large = Some(lsn);
            self.reserved = 0;
        } else {
            self.used.add(flight.bytes);
        }
        self.flights.insert(lsn, flight);
    }

    /// A record came back.
    pub(super) fn remove(&mut self, lsn: Lsn) -> Option<InFlightRecord> {
        let flight = self.flights.remove(&lsn)?;
        if self.large == Some(lsn) {
            self.large = None;
            self.extra.give_back(flight.bytes);
        } else {
            self.used.sub(flight.bytes);
        }
        let part = self.parts.get_mut(&flight.topic_partition)?;
        part.load.sub(flight.bytes);
        part.solo -= u64::from(flight.solo);
        part.loose -= u64::from(flight.unordered);
        if part.load.records == 0 {
            self.parts.remove(&flight.topic_partition);
        }
        Some(flight)
    }

    /// The partition confirmed something: it does not hang.
    pub(super) fn progress(&mut self, place: TopicPartition, now: Instant) {
        self.confirmed += 1;
        if let Some(part) = self.parts.get_mut(&place) {
            part.progress(now);
        }
    }

    /// Whether this record is in flight.
    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        self.flights.contains_key(&lsn)
    }

    /// How many records are.
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Those that went through the producer for single records, or those that did not.
    pub(super) fn of(&self, solo: bool) -> Vec<Lsn> {
        self.flights.iter().filter(|(_, flight)| flight.solo == solo).map(|(lsn, _)| *lsn).collect()
    }

    /// How many of them.
    pub(super) fn len_of(&self, solo: bool) -> usize {
        let singles: u64 = self.parts.values().map(|part| part.solo).sum();
        let singles = singles as usize;
        if solo { singles } else { self.flights.len() - singles }
    }

    /// The lowest one whose partition is not parked.
    pub(super) fn lowest_waiting(&self) -> Option<Lsn> {
        let parked = |place| self.parts.get(place).is_some_and(|part| part.parked);
        self.flights.iter().find(|(_, flight)| !parked(&flight.topic_partition)).map(|(lsn, _)| *lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::part::{SLOW, STALL};
    use crate::units::Timestamp;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition { topic: 0, partition }
    }

    fn send(window: &mut InFlight, lsn: u64, partition: i32, bytes: u64, now: Instant) {
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
        window.add(Lsn(lsn), flight, now);
    }

    fn window(workers: u64) -> InFlight {
        InFlight::share(workers, &Arc::default())
    }

    /// Fills the window with records of this partition, as far as it may.
    fn fill(window: &mut InFlight, lsn: &mut u64, partition: i32, bytes: u64, now: Instant) -> u64 {
        let from = *lsn;
        while window.has_room_at(place(partition), bytes, u64::MAX) && window.has_room(bytes) {
            *lsn += 1;
            send(window, *lsn, partition, bytes, now);
        }
        *lsn - from
    }

    #[test]
    fn single_records_without_a_key_hold_up_no_others() {
        let (now, mut window) = (Instant::now(), window(1));
        send(&mut window, 1, 0, 100, now);
        let flight = *window.flights.get(&Lsn(1)).unwrap();
        window.remove(Lsn(1));
        for (lsn, loose) in [(2, true), (3, true), (4, false)] {
            assert!(!window.is_busy(place(0)) && !window.is_solo(place(0)), "before {lsn}");
            window.add(Lsn(lsn), InFlightRecord { solo: true, unordered: loose, ..flight }, now);
        }
        assert!(window.is_busy(place(0)) && window.is_solo(place(0)));
        window.remove(Lsn(4));
        assert!(!window.is_busy(place(0)) && window.len_of(true) == 2);
    }

    #[test]
    fn partitions_that_hang_leave_room_for_the_others() {
        let (now, mut lsn, mut window) = (Instant::now(), 0, window(2));
        assert_eq!(fill(&mut window, &mut lsn, 0, 100, now), WINDOW.records / 2 / 3);
        for partition in 1..12 {
            assert!(fill(&mut window, &mut lsn, partition, 100, now) > 50, "partition {partition}");
        }
    }

    /// It was 256 MiB with 128 workers, and twice the window with partitions that hang.
    #[test]
    fn what_is_in_flight_is_bounded_for_any_number_of_workers() {
        let now = Instant::now();
        for workers in [1, 2, 13, 32, 128] {
            for bytes in [600, 100_000, 1 << 20] {
                let extra = Arc::default();
                let (mut lsn, mut least) = (0, u64::MAX);
                for _ in 0..workers {
                    let mut window = InFlight::share(workers, &extra);
                    for partition in 0..100 {
                        fill(&mut window, &mut lsn, partition, bytes, now);
                        window.park(place(partition));
                    }
                    least = least.min(window.used.records);
                }
                assert!(lsn * bytes <= 24 << 20, "{workers} workers, records of {bytes} bytes: {lsn}");
                assert!(
                    least * bytes >= WINDOW.bytes / workers / 4 || bytes > 600,
                    "{workers} workers: {least}"
                );
            }
        }
    }

    #[test]
    fn a_record_larger_than_its_window_passes_alone_and_gives_its_room_back() {
        let (now, extra) = (Instant::now(), Arc::default());
        let mut windows = [InFlight::share(128, &extra), InFlight::share(128, &extra)];
        assert!(windows[0].has_room(50 << 20) && windows[0].has_room(50 << 20), "asked for twice");
        send(&mut windows[0], 1, 0, 50 << 20, now);
        assert!(!windows[0].has_room(1 << 20) && !windows[1].has_room(1 << 20) && windows[0].has_room(100));
        windows[0].remove(Lsn(1));
        assert!(windows[1].has_room(50 << 20));
    }

    /// Records of partition 0 are confirmed one in 40 ms, those of partition 1 at once.
    #[test]
    fn a_partition_that_confirms_now_and_then_while_others_are_idle_is_slow() {
        let (mut now, mut lsn, mut window) = (Instant::now(), 0, window(1));
        fill(&mut window, &mut lsn, 0, 100, now);
        let mut oldest = 1;
        for turn in 0.. {
            lsn += 1;
            send(&mut window, lsn, 1, 100, now);
            window.remove(Lsn(lsn));
            window.progress(place(1), now);
            assert!(turn < 10, "its worker waits for ever");
            let is_slow = window.refuse(place(0), now);
            now += Duration::from_millis(40);
            if is_slow || window.refuse(place(0), now) {
                break;
            }
            window.remove(Lsn(oldest));
            window.progress(place(0), now);
            oldest += 1;
            lsn += 1;
            send(&mut window, lsn, 0, 100, now);
        }
        assert!(window.is_slow(place(0)));
        while window.is_slow(place(0)) {
            window.remove(Lsn(oldest));
            oldest += 1;
        }
        assert!(oldest > WINDOW.records / 8, "it has room for many before it is tried again");
    }

    #[test]
    fn a_partition_is_not_slow_while_others_work_or_when_there_is_no_other() {
        let (mut now, mut lsn, mut window) = (Instant::now(), 0, window(1));
        fill(&mut window, &mut lsn, 0, 100, now);
        for _ in 0..10 {
            assert!(!window.refuse(place(0), now), "there is no other");
            now += SLOW;
        }
        let (mut lsn, mut window) = (0, InFlight::share(1, &Arc::default()));
        fill(&mut window, &mut lsn, 0, 100, now);
        send(&mut window, lsn + 1, 1, 100, now);
        for _ in 0..100 {
            window.progress(place(1), now);
            assert!(!window.refuse(place(0), now), "the other is busy");
            now += SLOW / 2;
        }
    }

    #[test]
    fn a_partition_that_hangs_is_parked_until_it_confirms_something() {
        let start = Instant::now();
        let mut window = window(1);
        send(&mut window, 1, 0, 100, start);
        send(&mut window, 2, 0, 1, start);
        let late = start + STALL;
        assert!(window.has_stalled(place(0), late));
        window.park(place(0));
        assert!(window.is_parked(place(0)));
        assert_eq!(window.lowest_waiting(), None);
        window.remove(Lsn(2));
        window.progress(place(0), late);
        assert!(!window.is_parked(place(0)) && !window.has_stalled(place(0), late));
        assert_eq!(window.lowest_waiting(), Some(Lsn(1)));
    }
}
