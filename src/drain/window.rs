//! What is in flight, and how much more may be.
//!
//! The window bounds memory: what librdkafka holds is ours to bound, because it never gives up on a record. A
//! partition may use only a part of it, so that one that hangs leaves room for the others; when it hangs for a
//! while it is parked and its share no longer counts, up to twice the window in all.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use crate::drain::gates::Place;
use crate::units::Timestamp;
use crate::wal::Lsn;

/// All workers together: at 300 bytes a record 32,768 records are 10 MiB, 0.2 s of the fastest drain measured.
const WINDOW: Load = Load { records: 32_768, bytes: 24 << 20 };
/// No worker less than this, whatever their number: two of the largest records a broker takes by default.
const LEAST: Load = Load { records: 256, bytes: 2 << 20 };
/// A partition's part of a worker's window.
const PARTS: u64 = 8;
/// A broker that is well confirms within milliseconds; a partition that confirms nothing for this long hangs.
pub(super) const STALL: Duration = Duration::from_secs(1);

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    fn sub(&mut self, bytes: u64) {
        self.records -= 1;
        self.bytes -= bytes;
    }

    fn plus(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self { records: self.records - other.records, bytes: self.bytes - other.bytes }
    }

    /// Whether one more fits. The first always does: a record may be larger than its limit.
    pub(super) fn takes(self, bytes: u64, limit: Self) -> bool {
        self.records == 0 || (self.records < limit.records && self.bytes + bytes <= limit.bytes)
    }
}

/// A record handed to a producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) place: Place,
    pub(super) bytes: u64,
    /// Bytes it takes in the log.
    pub(super) log_bytes: u32,
    /// When it was accepted.
    pub(super) at: Timestamp,
    /// How often it was sent, this time included.
    pub(super) attempts: u32,
    /// Whether it went through the producer for single records.
    pub(super) solo: bool,
}

#[derive(Debug)]
struct Part {
    load: Load,
    solo: u64,
    // The last confirmation, or the first record after nothing was in flight.
    progress: Instant,
    parked: bool,
}

/// The records one worker has in flight.
#[derive(Debug)]
pub(super) struct Window {
    flights: BTreeMap<Lsn, Flight>,
    parts: HashMap<Place, Part>,
    used: Load,
    parked: Load,
    limit: Load,
}

impl Window {
    /// The share of one of so many workers.
    pub(super) fn share(workers: u64) -> Self {
        let limit = Load {
            records: (WINDOW.records / workers).max(LEAST.records),
            bytes: (WINDOW.bytes / workers).max(LEAST.bytes),
        };
        Self {
            flights: BTreeMap::new(),
            parts: HashMap::new(),
            used: Load::default(),
            parked: Load::default(),
            limit,
        }
    }

    /// What the worker may have in flight.
    pub(super) fn limit(&self) -> Load {
        self.limit
    }

    /// Whether the worker may have one more record in flight.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let twice = self.limit.plus(self.limit);
        self.used.takes(bytes, self.limit) && self.used.plus(self.parked).takes(bytes, twice)
    }

    /// Whether this partition may. `cap`: what was learned about its topic, in bytes.
    pub(super) fn has_room_at(&self, place: Place, bytes: u64, cap: u64) -> bool {
        let limit = Load { records: self.limit.records / PARTS, bytes: (self.limit.bytes / PARTS).min(cap) };
        self.parts.get(&place).is_none_or(|part| part.load.takes(bytes, limit))
    }

    /// Whether anything of this partition is in flight.
    pub(super) fn is_busy(&self, place: Place) -> bool {
        self.parts.get(&place).is_some_and(|part| part.load.records > 0)
    }

    /// Whether a single record of this partition is in flight apart from the others.
    pub(super) fn is_solo(&self, place: Place) -> bool {
        self.parts.get(&place).is_some_and(|part| part.solo > 0)
    }

    /// Whether anything of this topic is in flight.
    pub(super) fn is_topic_busy(&self, topic: usize) -> bool {
        self.parts.iter().any(|(place, part)| place.topic == topic && part.load.records > 0)
    }

    /// Whether this partition has records in flight and confirmed none for too long.
    pub(super) fn has_stalled(&self, place: Place, now: Instant) -> bool {
        self.parts.get(&place).is_some_and(|part| stalled(part, now))
    }

    /// Whether this partition is parked.
    pub(super) fn is_parked(&self, place: Place) -> bool {
        self.parts.get(&place).is_some_and(|part| part.parked)
    }

    /// Partitions that hang and are not parked yet.
    pub(super) fn stalled(&self, now: Instant) -> Vec<Place> {
        let hangs = |part: &Part| !part.parked && stalled(part, now);
        self.parts.iter().filter(|(_, part)| hangs(part)).map(|(place, _)| *place).collect()
    }

    /// Partitions with records in flight that confirmed none for this long.
    pub(super) fn stalled_for(&self, long: Duration, now: Instant) -> Vec<Place> {
        let hangs = |part: &Part| now.saturating_duration_since(part.progress) >= long;
        self.parts.iter().filter(|(_, part)| hangs(part)).map(|(place, _)| *place).collect()
    }

    /// Stops counting what this partition has in flight.
    pub(super) fn park(&mut self, place: Place) {
        if let Some(part) = self.parts.get_mut(&place)
            && !part.parked
            && part.load.records > 0
        {
            part.parked = true;
            self.used = self.used.minus(part.load);
            self.parked = self.parked.plus(part.load);
        }
    }

    /// A record was handed over.
    pub(super) fn add(&mut self, lsn: Lsn, flight: Flight, now: Instant) {
        let fresh = Part { load: Load::default(), solo: 0, progress: now, parked: false };
        let part = self.parts.entry(flight.place).or_insert(fresh);
        part.load.add(flight.bytes);
        part.solo += u64::from(flight.solo);
        let counted = if part.parked { &mut self.parked } else { &mut self.used };
        counted.add(flight.bytes);
        self.flights.insert(lsn, flight);
    }

    /// A record came back.
    pub(super) fn remove(&mut self, lsn: Lsn) -> Option<Flight> {
        let flight = self.flights.remove(&lsn)?;
        let part = self.parts.get_mut(&flight.place)?;
        part.load.sub(flight.bytes);
        part.solo -= u64::from(flight.solo);
        let counted = if part.parked { &mut self.parked } else { &mut self.used };
        counted.sub(flight.bytes);
        if part.load.records == 0 {
            self.parts.remove(&flight.place);
        }
        Some(flight)
    }

    /// The partition confirmed something: it does not hang, and counts again.
    pub(super) fn progress(&mut self, place: Place, now: Instant) {
        if let Some(part) = self.parts.get_mut(&place) {
            part.progress = now;
            if std::mem::take(&mut part.parked) {
                self.parked = self.parked.minus(part.load);
                self.used = self.used.plus(part.load);
            }
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
        self.flights.iter().find(|(_, flight)| !parked(&flight.place)).map(|(lsn, _)| *lsn)
    }
}

fn stalled(part: &Part, now: Instant) -> bool {
    part.load.records > 0 && now.saturating_duration_since(part.progress) >= STALL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        Place { topic: 0, partition }
    }

    fn send(window: &mut Window, lsn: u64, partition: i32, bytes: u64, now: Instant) {
        let flight = Flight {
            place: place(partition),
            bytes,
            log_bytes: 0,
            at: Timestamp(0),
            attempts: 1,
            solo: false,
        };
        window.add(Lsn(lsn), flight, now);
    }

    #[test]
    fn one_partition_cannot_use_up_the_window() {
        let now = Instant::now();
        let mut window = Window::share(2);
        let mut lsn = 0;
        while window.has_room(100) && window.has_room_at(place(0), 100, u64::MAX) {
            lsn += 1;
            send(&mut window, lsn, 0, 100, now);
        }
        assert_eq!(lsn, WINDOW.records / 2 / PARTS);
        assert!(window.has_room(100) && window.has_room_at(place(1), 100, u64::MAX));
    }

    #[test]
    fn a_record_larger_than_its_limit_still_passes_alone() {
        let mut window = Window::share(128);
        assert!(window.has_room(50 << 20) && window.has_room_at(place(0), 50 << 20, 1));
        send(&mut window, 1, 0, 50 << 20, Instant::now());
        assert!(!window.has_room(1) && !window.has_room_at(place(0), 1, 1));
    }

    #[test]
    fn a_parked_partition_gives_its_room_back_up_to_twice_the_window() {
        let now = Instant::now();
        let mut window = Window::share(1);
        let half = WINDOW.bytes / 2;
        for n in 1..=4 {
            let partition = i32::try_from(n).unwrap();
            send(&mut window, n, partition, half, now);
            window.park(place(partition));
        }
        assert!(!window.has_room(1), "twice the window is the end");
        assert_eq!(window.remove(Lsn(1)).unwrap().place, place(1));
        assert!(window.has_room(1));
    }

    #[test]
    fn a_confirmation_makes_a_parked_partition_count_again() {
        let start = Instant::now();
        let mut window = Window::share(1);
        send(&mut window, 1, 0, WINDOW.bytes, start);
        send(&mut window, 2, 0, 1, start);
        let late = start + STALL;
        assert!(window.has_stalled(place(0), late) && window.stalled(late) == [place(0)]);
        window.park(place(0));
        assert!(window.has_room(1) && window.stalled(late).is_empty());
        assert_eq!(window.lowest_waiting(), None);
        window.remove(Lsn(2));
        window.progress(place(0), late);
        assert!(!window.has_room(1) && !window.has_stalled(place(0), late));
        assert_eq!(window.lowest_waiting(), Some(Lsn(1)));
    }
}
