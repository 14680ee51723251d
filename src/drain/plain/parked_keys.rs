//! Keys that are parked because a password of theirs waits to be hashed.
//!
//! Keys share slots, which bounds their number however many are parked. A slot works like a parked range
//! (`parked_partitions`). While it is closed, no record passes it from its first record on. While it is open, only
//! the catch-up reader passes. Then it is removed. Its first record is the one whose deferred value it waits for.

use std::collections::HashMap;

use crate::drain::lane_reader::ReadSide;
use crate::drain::sender::Candidate;
use crate::wal::Lsn;

/// A topic and a group of its keys. A topic has at most 65,536 slots of about 50 bytes, for all workers together.
pub(super) type KeySlotId = (usize, u16);

#[derive(Debug)]
struct KeySlot {
    first: Lsn,
    last: Lsn,
    waiting: u64,
    open: bool,
}

/// All key slots of one worker that are parked.
#[derive(Debug, Default)]
pub(super) struct ParkedKeys {
    slots: HashMap<KeySlotId, KeySlot>,
    /// Number of parked records, by topic.
    waiting: HashMap<usize, u64>,
    /// Whether some records wait until their value may be requested. They precede new records.
    has_unrequested: bool,
}

/// The key slot of a record.
pub(super) fn slot_of(record: &Candidate<'_>) -> KeySlotId {
    let hash = record.envelope.key.map_or(record.lsn().0 as u32, crc32fast::hash);
    (record.topic, (hash & 0xffff) as u16)
}

impl ParkedKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether older records wait until their value may be requested.
    pub(super) fn has_unrequested(&self) -> bool {
        self.has_unrequested
    }

    /// Whether this record may not pass here now. If so, it is counted. A record before the first record of a closed
    /// slot was returned by the producer, so it is sent first.
    pub(super) fn blocks(&mut self, key: KeySlotId, side: ReadSide, lsn: Lsn) -> bool {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.first <= lsn) else { return false };
        if slot.open && side != ReadSide::Main {
            return false;
        }
        if lsn > slot.last {
            slot.last = lsn;
            slot.waiting += 1;
            *self.waiting.entry(key.0).or_default() += 1;
        }
        true
    }

    /// Closes the slot from this record on, until its value is resolved. `asked` is whether the value was requested.
    pub(super) fn hold(&mut self, key: KeySlotId, lsn: Lsn, was_requested: bool) {
        self.has_unrequested |= !was_requested;
        let waiting = self.waiting.entry(key.0).or_default();
        let slot = self.slots.entry(key).or_insert_with(|| {
            *waiting += 1;
            KeySlot { first: lsn, last: lsn, waiting: 1, open: false }
        });
        (slot.first, slot.last, slot.open) = (lsn, slot.last.max(lsn), false);
    }

    /// A record of an open slot was sent.
    pub(super) fn on_passed(&mut self, key: KeySlotId) {
        if let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.open && slot.waiting > 0) {
            slot.waiting -= 1;
            subtract(&mut self.waiting, key.0, 1);
        }
    }

    /// Opens slots for the catch-up reader that begins no earlier than `from`. These are the slots for whose first
    /// record `is_resolved` returns true, and the first `room` slots whose value was not requested yet. Returns the
    /// record at which the reader must begin.
    pub(super) fn open(
        &mut self,
        from: Lsn,
        room: usize,
        is_made: impl Fn(Lsn) -> bool,
        is_asked: impl Fn(Lsn) -> bool,
    ) -> Option<Lsn> {
        let mut queue: Vec<Lsn> = Vec::new();
        let mut first: Option<Lsn> = None;
        for slot in self.slots.values_mut().filter(|slot| !slot.open) {
            if is_made(slot.first) && slot.first >= from {
                slot.open = true;
                first = first.into_iter().chain([slot.first]).min();
            } else if !is_made(slot.first) && !is_asked(slot.first) {
                queue.push(slot.first);
            }
        }
        queue.sort_unstable();
        self.has_unrequested = queue.len() > room;
        if let Some(&last) = queue.get(room.min(queue.len()).wrapping_sub(1)) {
            let queued = |slot: &&mut KeySlot| {
                !slot.open && slot.first <= last && !is_made(slot.first) && !is_asked(slot.first)
            };
            for slot in self.slots.values_mut().filter(queued) {
                if slot.first >= from {
                    slot.open = true;
                    first = first.into_iter().chain([slot.first]).min();
                } else {
                    self.has_unrequested = true;
                }
            }
        }
        first
    }

    /// The catch-up reader has reached this position. Removes open slots without records behind it.
    pub(super) fn on_position(&mut self, position: Lsn) {
        let waiting = &mut self.waiting;
        self.slots.retain(|key, slot| {
            let over = slot.open && slot.last < position;
            if over {
                subtract(waiting, key.0, slot.waiting);
            }
            !over
        });
    }

    pub(super) fn any_open(&self) -> bool {
        self.slots.values().any(|slot| slot.open)
    }

    /// Number of parked records, with the number of their topic. The number is approximate while they are released.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.waiting.iter().map(|(topic, count)| (*topic, *count))
    }
}

fn subtract(waiting: &mut HashMap<usize, u64>, topic: usize, count: u64) {
    if let Some(all) = waiting.get_mut(&topic) {
        *all = all.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: KeySlotId = (0, 7);
    const OTHER: KeySlotId = (0, 8);
    /// No value is resolved or requested.
    const NONE_REQUESTED: fn(Lsn) -> bool = |_| false;

    #[test]
    fn a_slot_parks_its_keys_until_they_are_caught_up() {
        let mut slots = ParkedKeys::default();
        slots.hold(K, Lsn(5), true);
        assert!(slots.blocks(K, ReadSide::Main, Lsn(9)) && slots.blocks(K, ReadSide::CatchUp, Lsn(9)));
        assert!(!slots.blocks(OTHER, ReadSide::Main, Lsn(9)));
        assert_eq!(slots.waiting().collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(slots.open(Lsn(0), 1, NONE_REQUESTED, |_| true), None);
        assert_eq!(slots.open(Lsn(0), 0, |lsn| lsn == Lsn(5), |_| true), Some(Lsn(5)));
        assert!(!slots.blocks(K, ReadSide::CatchUp, Lsn(5)));
        slots.on_passed(K);
        assert!(slots.blocks(K, ReadSide::Main, Lsn(10)), "it would overtake 9");
        slots.on_position(Lsn(10));
        assert!(slots.any_open(), "10 was not offered yet");
        slots.on_position(Lsn(11));
        assert!(slots.is_empty() && !slots.blocks(K, ReadSide::Main, Lsn(11)));
        assert_eq!(slots.waiting().map(|(_, count)| count).sum::<u64>(), 0);
    }

    #[test]
    fn the_next_deferred_record_of_a_slot_closes_it_again() {
        let mut slots = ParkedKeys::default();
        slots.hold(K, Lsn(5), true);
        slots.blocks(K, ReadSide::Main, Lsn(7));
        slots.open(Lsn(0), 0, |_| true, NONE_REQUESTED);
        slots.hold(K, Lsn(7), true);
        assert!(!slots.blocks(K, ReadSide::CatchUp, Lsn(5)), "a returned record is sent first");
        assert!(slots.blocks(K, ReadSide::CatchUp, Lsn(7)));
        slots.on_position(Lsn(100));
        assert_eq!(slots.open(Lsn(0), 0, |lsn| lsn == Lsn(7), NONE_REQUESTED), Some(Lsn(7)));
    }

    #[test]
    fn free_requests_go_to_unrequested_records_in_order() {
        let mut slots = ParkedKeys::default();
        for n in [9, 3, 6] {
            slots.hold((0, n), Lsn(n.into()), false);
        }
        assert!(slots.has_unrequested());
        assert_eq!(slots.open(Lsn(0), 0, NONE_REQUESTED, NONE_REQUESTED), None);
        assert_eq!(slots.open(Lsn(0), 2, NONE_REQUESTED, NONE_REQUESTED), Some(Lsn(3)));
        assert!(slots.has_unrequested());
        assert!(
            !slots.blocks((0, 6), ReadSide::CatchUp, Lsn(6))
                && slots.blocks((0, 9), ReadSide::CatchUp, Lsn(9))
        );
        assert_eq!(slots.open(Lsn(0), 2, NONE_REQUESTED, NONE_REQUESTED), Some(Lsn(9)));
        assert!(!slots.has_unrequested());
    }

    #[test]
    fn a_running_pass_does_not_go_back() {
        let mut slots = ParkedKeys::default();
        slots.hold(K, Lsn(5), true);
        slots.hold(OTHER, Lsn(8), true);
        assert_eq!(slots.open(Lsn(6), 0, |_| true, NONE_REQUESTED), Some(Lsn(8)));
        assert!(slots.blocks(K, ReadSide::CatchUp, Lsn(5)));
        assert_eq!(slots.open(Lsn(0), 0, |_| true, NONE_REQUESTED), Some(Lsn(5)));
    }
}
