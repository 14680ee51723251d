//! From a record of the log into the open transaction, or why not.

use std::time::Instant;

use super::core::Core;
use super::message::Message as Note;
use super::message::TOPIC;
use super::run::Run;
use crate::command::Envelope;
use crate::drain::court::NotTaken;
use crate::drain::feed::Step;
use crate::drain::feed::owned;
use crate::drain::flight::Flight;
use crate::drain::handover::hand_over;
use crate::drain::partition;
use crate::drain::place::Place;
use crate::drain::sealed::Look;
use crate::drain::sending::OVERHEAD;
use crate::drain::topics::Verdict;
use crate::kafka::ErrorCode;
use crate::wal::Frame;
use crate::wal::Lsn;

impl Core {
    /// Does what can be done with one record. `from`: where the worker would read again.
    pub(super) fn handle(&mut self, from: Lsn, frame: Frame<'_>) -> Step {
        if self.held.stops(frame.lane, frame.lsn) {
            self.look_ahead(frame);
            return Step::Done;
        }
        if self.court.grave.is_full() || self.has_failed {
            return Step::Wait;
        }
        let now = Instant::now();
        let envelope = match Envelope::decode(frame.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.court.grave.add(owned(frame), "envelope", Some(error.to_string()), 0);
                return Step::Done;
            }
        };
        let topic = self.court.topics.number(envelope.topic, now);
        let whole = Place::whole(topic);
        let (known, has_key) = (self.court.topics.get(topic), envelope.key.is_some());
        if known.is_due(now) || known.is_judged_before(frame.at, has_key, now) {
            self.ask(topic, true, now);
        }
        let known = self.court.topics.get(topic);
        let verdict = if has_key { known.verdict_on(frame.at) } else { known.verdict_on_keyless(frame.at) };
        let (partitions, alone) = match verdict {
            Verdict::Send { partitions, alone } => (partitions, alone),
            Verdict::Wait => return Step::Wait,
            Verdict::Hold => return self.hold(frame, whole),
            Verdict::Bury(reason) => {
                self.court.bury(frame, reason);
                return Step::Done;
            }
        };
        if alone && self.window.is_topic_busy(topic) {
            return Step::Wait;
        }
        let partition = match envelope.key {
            Some(key) => partition::of_key(key, partitions),
            None => partition::spread(frame.lsn, partitions, |partition| {
                !self.held.is_jammed(Place { topic, partition })
            }),
        };
        let place = Place { topic, partition };
        if self.held.is_jammed(place) {
            return self.hold(frame, place);
        }
        if envelope.sealed {
            match self.sealed.look(frame.lsn, &envelope) {
                Look::Ready => {}
                Look::Later => return self.hold(frame, Place::sealed(topic)),
                Look::Dead(reason) => {
                    self.court.bury(frame, reason);
                    return Step::Done;
                }
            }
        }
        self.admit(from, frame, &envelope, place, alone, now)
    }

    /// Asks for the value of a sealed record behind another one of its lane, so that both are made together.
    fn look_ahead(&mut self, frame: Frame<'_>) {
        if self.held.is_sealed(frame.lane)
            && self.sealed.room() > 0
            && let Ok(envelope) = Envelope::decode(frame.payload)
            && envelope.sealed
        {
            self.sealed.look(frame.lsn, &envelope);
        }
    }

    fn hold(&mut self, frame: Frame<'_>, place: Place) -> Step {
        self.held.hold(frame.lane, frame.lsn, place);
        Step::Done
    }

    fn admit(
        &mut self,
        from: Lsn,
        frame: Frame<'_>,
        envelope: &Envelope<'_>,
        place: Place,
        alone: bool,
        now: Instant,
    ) -> Step {
        let bytes = (frame.payload.len() as u64) + OVERHEAD;
        let solo = alone || self.held.is_on_trial(place) || self.court.suspects.singly(place, frame.lsn);
        let busy = if solo { self.window.is_busy(place) } else { self.window.is_solo(place) };
        let cap = self.court.topics.get(place.topic).cap;
        let proving = alone || self.hunt > 0;
        let fits = |run: &Run| run.has_room(bytes, self.limit) && run.takes(place.topic, proving);
        let in_run = self.run.as_ref().is_none_or(fits);
        self.is_full |= !in_run;
        if busy || !in_run || !self.window.has_room_at(place, bytes, cap) || !self.window.has_room(bytes) {
            return Step::Wait;
        }
        if self.run.is_none() && !self.begin(from, proving.then_some(place.topic), now) {
            return Step::Wait;
        }
        let Some(producer) = self.sender.producer() else { return Step::Wait };
        // Looked for right before: without one nothing leaves.
        let Some(value) = self.sealed.value(frame.lsn, envelope) else { return Step::Wait };
        let sent = hand_over(producer, frame, envelope, place, value);
        let attempts = self.court.attempts.get(&frame.lsn).copied().unwrap_or(0) + 1;
        if let Err(code) = sent {
            return self.not_taken(frame, place, code, attempts, now);
        }
        if attempts > 1 {
            self.parts.metrics.retried.inc();
        }
        let has_key = envelope.key.is_some();
        let flight = Flight {
            place,
            bytes,
            log_bytes: frame.bytes,
            at: frame.at,
            attempts,
            has_key,
            solo,
            loose: false,
        };
        self.window.add(frame.lsn, flight, now);
        if let Some(run) = &mut self.run {
            run.add(frame.lane, frame.lsn, bytes);
        }
        if alone {
            self.court.topics.get(place.topic).tried(frame.lsn);
        }
        Step::Done
    }

    /// Opens a transaction.
    fn begin(&mut self, from: Lsn, only: Option<usize>, now: Instant) -> bool {
        let Some(producer) = self.sender.producer() else { return false };
        if let Err(error) = producer.begin_transaction() {
            tracing::warn!(%error, "no transaction can be opened");
            self.has_failed = true;
            return false;
        }
        self.run = Some(Run::new(from, only, self.committed.clone(), now));
        true
    }

    /// The producer did not take the record.
    fn not_taken(
        &mut self,
        frame: Frame<'_>,
        place: Place,
        code: ErrorCode,
        attempts: u32,
        now: Instant,
    ) -> Step {
        match self.court.not_taken(frame, place, code, attempts, now) {
            NotTaken::Buried => Step::Done,
            NotTaken::Hold => self.hold(frame, Place::whole(place.topic)),
            NotTaken::Failed => {
                self.has_failed = true;
                Step::Wait
            }
            NotTaken::Passing => {
                self.has_failed |= code != ErrorCode::QueueFull;
                Step::Wait
            }
        }
    }

    /// Sends the positions: no record follows in this transaction. One that proves a topic sends them last, so that
    /// what goes wrong before is that topic's fault.
    pub(super) fn close(&mut self) {
        let (Some(run), Some(producer)) = (&mut self.run, self.sender.producer()) else { return };
        if run.only.is_some() && self.window.len() > 0 {
            return;
        }
        let note = Note { incarnation: self.incarnation, positions: run.positions.clone() };
        match producer.send_entry(TOPIC, self.sender.id.as_bytes(), Some(&note.encode())) {
            Ok(()) => run.is_closed = true,
            Err(error) => {
                tracing::warn!(%error, "the positions were not taken");
                self.has_failed = true;
            }
        }
    }
}
