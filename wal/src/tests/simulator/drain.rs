//! The simulated users of the log: workers that read their lanes and have records in flight, a broker that confirms or
//! rejects records in any order, and an operator who requeues or drops dead letters.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::dead_letters::{DeadEntry, Removal};
use super::super::super::{Confirmation, Cursor, DeadLetter, Lsn};
use super::expectations::{Certainty, CheckResult, Expectations, ensure};
use super::simulation::Simulation;
use crate::units::Timestamp;

/// A worker of the drain. It reads its lanes in order, and has many records in flight.
pub struct Worker {
    pub cursor: Cursor,
    pub from: u64,
    pub read: BTreeSet<u64>,
    /// Records in flight, and their bytes in the log.
    pub in_flight: BTreeMap<u64, u32>,
}

/// Records that the broker has received.
#[derive(Default)]
pub struct Broker {
    /// Each record, from its first delivery.
    pub records: BTreeMap<u64, Vec<u8>>,
    /// The last record of each lane that was delivered for the first time.
    pub last: BTreeMap<u8, u64>,
}

impl Simulation {
    pub fn deliver(&mut self, worker: usize, limit: usize) -> CheckResult {
        let workers = self.workers.len();
        for _ in 0..limit {
            let excused = self.may_fail();
            let at = &mut self.workers[worker];
            let frame = match at.cursor.next(|_, lane| usize::from(lane) % workers == worker) {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.check_all_read(worker),
                Err(error) => {
                    ensure!(excused || self.may_fail(), "cannot read: {error}");
                    return Ok(());
                }
            };
            let (lsn, lane, payload) = (frame.lsn.0, frame.lane, frame.payload);
            self.expected.check_shown(lsn, lane, payload)?;
            let last = self.broker.last.entry(lane).or_default();
            match self.broker.records.get(&lsn) {
                Some(had) => ensure!(*had == payload, "record {lsn} had another payload before"),
                None => {
                    ensure!(*last < lsn, "record {lsn} of lane {lane} after {last}");
                    *last = lsn;
                    self.broker.records.insert(lsn, payload.to_vec());
                }
            }
            at.in_flight.insert(lsn, frame.bytes);
            at.read.insert(lsn);
        }
        Ok(())
    }

    /// A reader at the end of the log has returned every waiting record.
    pub fn check_all_read(&mut self, worker: usize) -> CheckResult {
        self.record_damage();
        let (at, workers) = (&self.workers[worker], self.workers.len());
        for (lsn, record) in self.expected.acknowledged.range(at.from..) {
            let mine = usize::from(record.lane) % workers == worker;
            ensure!(!mine || record.is_done() || at.read.contains(lsn), "the reader skips record {lsn}");
        }
        Ok(())
    }

    /// Marks records that a reader reported as damaged.
    pub fn record_damage(&mut self) {
        if self.expected.corrupted.is_none() {
            return;
        }
        let log = self.log();
        for lsn in log.dead_letters().lsns() {
            if let Ok(Some(DeadEntry::Damage(damage))) = log.dead_letters().get(lsn) {
                let range = damage.lsn_from..=damage.lsn_to;
                let lost =
                    self.expected.acknowledged.range_mut(range).filter(|(lsn, _)| log.is_done(Lsn(**lsn)));
                lost.filter(|(_, record)| !record.is_done()).for_each(|(_, record)| record.damaged = true);
            }
        }
    }

    pub fn confirm(&mut self, worker: usize, all: bool) -> CheckResult {
        let log = self.log();
        let at = self.now();
        let mut confirmations = Vec::new();
        for (&lsn, &bytes) in &self.workers[worker].in_flight {
            let refused =
                self.expected.acknowledged.get(&lsn).is_none_or(|record| record.dead != Certainty::No);
            if !refused && (all || !self.rng.one_in(3)) {
                let offset = self.rng.below(1 << 20) as i64;
                confirmations.push(Confirmation { lsn: Lsn(lsn), bytes, partition: 3, offset, at });
            }
        }
        // Confirmations arrive in any order.
        for index in (1..confirmations.len()).rev() {
            confirmations.swap(index, self.rng.below(index + 1));
        }
        log.confirm(&confirmations);
        for confirmation in confirmations {
            self.workers[worker].in_flight.remove(&confirmation.lsn.0);
            if let Some(record) = self.expected.acknowledged.get_mut(&confirmation.lsn.0) {
                record.confirmed.push(confirmation);
                record.done = true;
            }
        }
        self.expected.check_backlog_stats(&log)
    }

    pub fn refuse(&mut self, worker: usize) -> CheckResult {
        let log = self.log();
        let count = 1 + self.rng.below(3);
        let these: Vec<_> = self.workers[worker].in_flight.keys().copied().take(count).collect();
        let letters: Vec<_> = these
            .iter()
            .filter_map(|lsn| {
                let payload = self.expected.acknowledged.get(lsn)?.payload.clone();
                let (lsn, reason) = (Lsn(*lsn), "too large".to_owned());
                let (accepted_at, died_at) = (Timestamp(1), Timestamp(2));
                Some(DeadLetter { lsn, accepted_at, died_at, reason, attempts: 1, payload })
            })
            .collect();
        let stored = log.store_dead_letters(&letters);
        ensure!(
            stored.is_ok() || self.may_fail() || self.expected.had_fault,
            "dead letters are not stored: {stored:?}"
        );
        for letter in letters {
            let dead = if stored.is_ok() { Certainty::Yes } else { Certainty::Maybe };
            if dead == Certainty::Yes {
                self.workers[worker].in_flight.remove(&letter.lsn.0);
            }
            if let Some(record) = self.expected.acknowledged.get_mut(&letter.lsn.0) {
                record.dead = dead;
            }
        }
        self.expected.check_backlog_stats(&log)
    }

    pub fn dead_letter(&mut self) -> Option<(u64, u8, Vec<u8>)> {
        let dead = |record: &&super::expectations::Record| {
            record.dead == Certainty::Yes && record.removed == Certainty::No
        };
        let all: Vec<_> = self
            .expected
            .acknowledged
            .iter()
            .filter(|(_, record)| dead(record))
            .map(|(lsn, _)| *lsn)
            .collect();
        let lsn = *all.get(self.rng.below(all.len()))?;
        let record = &self.expected.acknowledged[&lsn];
        Some((lsn, record.lane, record.payload.clone()))
    }

    /// Appends a dead letter again under a new number, flushes it, and only then removes the dead letter.
    pub fn requeue(&mut self) -> CheckResult {
        let Some((_, lane, payload)) = self.dead_letter() else { return Ok(()) };
        let before = self.rng.clone();
        let Some(new) = self.append_records(vec![(lane, payload)])? else { return Ok(()) };
        self.commit()?;
        self.rng = before;
        match self.expected.acknowledged.contains_key(&new) {
            true => self.remove_dead_letter(Removal::Requeued(Lsn(new))),
            false => Ok(()),
        }
    }

    pub fn remove_dead_letter(&mut self, removal: Removal) -> CheckResult {
        let Some((lsn, ..)) = self.dead_letter() else { return Ok(()) };
        let removed = self.log().remove_dead_letter(Lsn(lsn), removal);
        let excused = self.may_fail() || self.expected.had_fault;
        ensure!(removed.as_ref().is_ok_and(|existed| *existed) || excused, "dead letter {lsn}: {removed:?}");
        if let Some(record) = self.expected.acknowledged.get_mut(&lsn) {
            record.removed = if removed.is_ok() { Certainty::Yes } else { Certainty::Maybe };
            record.removal = Some(removal);
        }
        Ok(())
    }
}

impl Broker {
    /// Forgets records that were cut and reported. Their numbers may be reused.
    pub fn drop_lost(&mut self, known: &Expectations) {
        if known.corrupted.is_some() {
            self.records.retain(|lsn, _| known.acknowledged.contains_key(lsn));
            for last in self.last.values_mut() {
                *last = (*last).min(self.records.keys().next_back().copied().unwrap_or(0));
            }
        }
    }
}
