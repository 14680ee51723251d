//! Completes records: after Kafka's confirmation, or as dead letters. Also reports the state of a record.

use std::io;

use super::dead_letters;
use super::dead_letters::{DamagedRange, DeadEntry, Removal};
use super::event::Event;
use super::log::Log;
use super::types::{Confirmation, DeadLetter, RecordState};
use crate::units::Lsn;

impl Log {
    /// Stores the Kafka positions of these records in the delivery index, and marks the records as done. Durable with
    /// the next checkpoint only: a crash before it causes duplicate deliveries.
    pub fn confirm(&self, confirmations: &[Confirmation]) {
        let mut sorted = confirmations.to_vec();
        sorted.sort_unstable_by_key(|confirmation| confirmation.lsn);
        let mut rest = &sorted[..];
        while let Some(first) = rest.first() {
            let Some(segment) = self.segments.containing(first.lsn) else {
                rest = &rest[1..];
                continue;
            };
            let next = segment.flushed().0;
            let (these, others) = rest.split_at(rest.partition_point(|c| c.lsn < next).max(1));
            if let Err(e) = self.delivery_index.record(segment.first, these) {
                self.report(Event::TransientError { what: "write delivery positions", error: e.to_string() });
            }
            rest = others;
        }
        match self.delivery_index.drop_oldest() {
            0 => {}
            count => self.report(Event::PositionsDropped { count }),
        }
        let done = sorted.iter().map(|confirmation| (confirmation.lsn, u64::from(confirmation.bytes)));
        self.mark_done(done);
    }

    /// Stores these records as dead letters, durably, and then marks them as done. On an error none of them is marked:
    /// they stay in the log and block their lane.
    pub fn store_dead_letters(&self, letters: &[DeadLetter]) -> io::Result<()> {
        self.poison_on_error(self.dead_letters.add(letters))?;
        self.mark_done(letters.iter().map(|letter| (letter.lsn, self.record_len(letter))));
        Ok(())
    }

    /// Lists unreadable records as damage, durably.
    pub(super) fn add_damage(&self, damage: DamagedRange) -> io::Result<()> {
        self.poison_on_error(self.dead_letters.add_damage(damage))
    }

    /// Removes a dead letter from the store, durably. Returns `false` if the store did not contain it.
    pub fn remove_dead_letter(&self, lsn: Lsn, removal: Removal) -> io::Result<bool> {
        self.poison_on_error(self.dead_letters.remove(lsn, removal))
    }

    /// A failed write or flush of the dead-letter store is final for the log too. Otherwise the store would accept no
    /// more dead letters, and each of them would block its lane until a restart.
    pub(super) fn poison_on_error<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && self.dead_letters.is_broken()
        {
            let path = self.dir.join(dead_letters::RELATIVE_PATH);
            self.poison(format!("could not write or flush {}: {error}", path.display()));
        }
        outcome
    }

    /// Bytes of the dead letter's record in the log; 0 if the record is no longer retained.
    fn record_len(&self, letter: &DeadLetter) -> u64 {
        self.segments.containing(letter.lsn).map_or(0, |segment| segment.frame_len(letter.payload.len()))
    }

    /// The state of a record.
    pub fn record_state(&self, lsn: Lsn) -> io::Result<RecordState> {
        if lsn >= self.end() {
            return Ok(RecordState::Unknown);
        }
        match self.dead_letters.get(lsn)? {
            Some(DeadEntry::Letter(letter)) => {
                return Ok(RecordState::Dead { reason: letter.reason, at: letter.died_at });
            }
            Some(DeadEntry::Damage(damage)) => {
                return Ok(RecordState::Dead { reason: damage.reason, at: damage.found_at });
            }
            Some(DeadEntry::Sealed(letter)) => return Ok(letter.record_state()),
            None => {}
        }
        match self.dead_letters.removal(lsn) {
            Some(Removal::Requeued(as_lsn)) => return Ok(RecordState::Requeued(as_lsn)),
            Some(Removal::Dropped) => return Ok(RecordState::Dropped),
            None => {}
        }
        let Some(segment) = self.segments.containing(lsn) else { return Ok(RecordState::Unknown) };
        if !self.is_done(lsn) {
            return Ok(RecordState::Accepted);
        }
        let position = self.delivery_index.get(segment.first, lsn)?;
        // Done, but without a delivery position: it may be inside a damaged range.
        match if position.is_none() { self.dead_letters.damage_covering(lsn)? } else { None } {
            Some(damage) => Ok(RecordState::Dead { reason: damage.reason, at: damage.found_at }),
            None => Ok(RecordState::Sent(position)),
        }
    }
}
