//! The drain beside the log: workers that read their lanes and have records in flight, a broker that confirms them in
//! any order or refuses them, an operator who looks after the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::dead_letters::{DeadEntry, Removal};
use super::super::super::{Confirmation, Cursor, DeadLetter, Lsn};
use super::known::{Known, Truth, Verdict, ensure};
use super::life::Life;
use crate::units::Timestamp;

/// A worker of the drain: reads its lanes in order, and has many records in flight.
pub struct Worker {
    pub cursor: Cursor,
    pub from: u64,
    pub read: BTreeSet<u64>,
    /// Bytes in the log.
    pub in_flight: BTreeMap<u64, u32>,
}

/// What the broker has.
#[derive(Default)]
pub struct Broker {
    /// First occurrences.
    pub records: BTreeMap<u64, Vec<u8>>,
    /// The last first occurrence of each lane.
    pub last: BTreeMap<u8, u64>,
}

impl Life {
    pub fn deliver(&mut self, worker: usize, most: usize) -> Verdict {
        let workers = self.workers.len();
        for _ in 0..most {
            let excused = self.excused();
            let at = &mut self.workers[worker];
            let frame = match at.cursor.next(|_, lane| usize::from(lane) % workers == worker) {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.nothing_left(worker),
                Err(error) => {
                    ensure!(excused || self.excused(), "cannot read: {error}");
                    return Ok(());
                }
            };
            let (lsn, lane, payload) = (frame.lsn.0, frame.lane, frame.payload);
            self.known.shown(lsn, lane, payload)?;
            let last = self.broker.last.entry(lane).or_default();
            match self.broker.records.get(&lsn) {
                Some(had) => ensure!(*had == payload, "record {lsn} was another one before"),
                None => {
                    ensure!(*last < lsn, "record {lsn} of lane {lane} behind {last}");
                    *last = lsn;
                    self.broker.records.insert(lsn, payload.to_vec());
                }
            }
            at.in_flight.insert(lsn, frame.bytes);
            at.read.insert(lsn);
        }
        Ok(())
    }

    /// The reader says it is at the end: then it has given everything that waits.
    pub fn nothing_left(&mut self, worker: usize) -> Verdict {
        self.note_damage();
        let (at, workers) = (&self.workers[worker], self.workers.len());
        for (lsn, record) in self.known.acknowledged.range(at.from..) {
            let mine = usize::from(record.lane) % workers == worker;
            ensure!(!mine || record.over() || at.read.contains(lsn), "the reader passes record {lsn}");
        }
        Ok(())
    }

    /// What a reader found damaged is a dead letter from now on.
    pub fn note_damage(&mut self) {
        if self.known.spoilt.is_none() {
            return;
        }
        let log = self.log();
        for lsn in log.dead_letters().lsns() {
            if let Ok(Some(DeadEntry::Damage(damage))) = log.dead_letters().get(lsn) {
                let range = damage.lsn_from..=damage.lsn_to;
                let lost =
                    self.known.acknowledged.range_mut(range).filter(|(lsn, _)| log.is_done(Lsn(**lsn)));
                lost.filter(|(_, record)| !record.over()).for_each(|(_, record)| record.damaged = true);
            }
        }
    }

    pub fn confirm(&mut self, worker: usize, all: bool) -> Verdict {
        let log = self.log();
        let at = self.now();
        let mut confirmations = Vec::new();
        for (&lsn, &bytes) in &self.workers[worker].in_flight {
            let refused = self.known.acknowledged.get(&lsn).is_none_or(|record| record.dead != Truth::No);
            if !refused && (all || !self.dice.once_in(3)) {
                let offset = self.dice.below(1 << 20) as i64;
                confirmations.push(Confirmation { lsn: Lsn(lsn), bytes, partition: 3, offset, at });
            }
        }
        // They come back in any order.
        for index in (1..confirmations.len()).rev() {
            confirmations.swap(index, self.dice.below(index + 1));
        }
        log.confirm(&confirmations);
        for confirmation in confirmations {
            self.workers[worker].in_flight.remove(&confirmation.lsn.0);
            if let Some(record) = self.known.acknowledged.get_mut(&confirmation.lsn.0) {
                record.confirmed.push(confirmation);
                record.done = true;
            }
        }
        self.known.check_figures(&log)
    }

    pub fn refuse(&mut self, worker: usize) -> Verdict {
        let log = self.log();
        let count = 1 + self.dice.below(3);
        let these: Vec<_> = self.workers[worker].in_flight.keys().copied().take(count).collect();
        let letters: Vec<_> = these
            .iter()
            .filter_map(|lsn| {
                let payload = self.known.acknowledged.get(lsn)?.payload.clone();
                let (lsn, reason) = (Lsn(*lsn), "too large".to_owned());
                let (accepted_at, died_at) = (Timestamp(1), Timestamp(2));
                Some(DeadLetter { lsn, accepted_at, died_at, reason, attempts: 1, payload })
            })
            .collect();
        let buried = log.store_dead_letters(&letters);
        ensure!(buried.is_ok() || self.excused() || self.known.troubled, "no grave: {buried:?}");
        for letter in letters {
            let dead = if buried.is_ok() { Truth::Yes } else { Truth::Maybe };
            if dead == Truth::Yes {
                self.workers[worker].in_flight.remove(&letter.lsn.0);
            }
            if let Some(record) = self.known.acknowledged.get_mut(&letter.lsn.0) {
                record.dead = dead;
            }
        }
        self.known.check_figures(&log)
    }

    pub fn dead_letter(&mut self) -> Option<(u64, u8, Vec<u8>)> {
        let dead = |record: &&super::known::Record| record.dead == Truth::Yes && record.removed == Truth::No;
        let all: Vec<_> =
            self.known.acknowledged.iter().filter(|(_, record)| dead(record)).map(|(lsn, _)| *lsn).collect();
        let lsn = *all.get(self.dice.below(all.len()))?;
        let record = &self.known.acknowledged[&lsn];
        Some((lsn, record.lane, record.payload.clone()))
    }

    /// Appended again under a new number, flushed, and only then removed.
    pub fn requeue(&mut self) -> Verdict {
        let Some((_, lane, payload)) = self.dead_letter() else { return Ok(()) };
        let before = self.dice.clone();
        let Some(new) = self.append_these(vec![(lane, payload)])? else { return Ok(()) };
        self.commit()?;
        self.dice = before;
        match self.known.acknowledged.contains_key(&new) {
            true => self.remove_letter(Removal::Requeued(Lsn(new))),
            false => Ok(()),
        }
    }

    pub fn remove_letter(&mut self, removal: Removal) -> Verdict {
        let Some((lsn, ..)) = self.dead_letter() else { return Ok(()) };
        let removed = self.log().remove_dead_letter(Lsn(lsn), removal);
        let excused = self.excused() || self.known.troubled;
        ensure!(removed.as_ref().is_ok_and(|there| *there) || excused, "dead letter {lsn}: {removed:?}");
        if let Some(record) = self.known.acknowledged.get_mut(&lsn) {
            record.removed = if removed.is_ok() { Truth::Yes } else { Truth::Maybe };
            record.removal = Some(removal);
        }
        Ok(())
    }
}

impl Broker {
    /// Records that were cut, and reported, may have a successor under their number.
    pub fn forget_lost(&mut self, known: &Known) {
        if known.spoilt.is_some() {
            self.records.retain(|lsn, _| known.acknowledged.contains_key(lsn));
            for last in self.last.values_mut() {
                *last = (*last).min(self.records.keys().next_back().copied().unwrap_or(0));
            }
        }
    }
}
