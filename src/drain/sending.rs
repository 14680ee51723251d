//! From a record of the log to the producer, or why not.

use std::time::Instant;

use crate::command::Envelope;
use crate::drain::court::NotTaken;
use crate::drain::desk::Desk;
use crate::drain::feed::Step;
use crate::drain::feed::owned;
use crate::drain::flight::Flight;
use crate::drain::gates::Side;
use crate::drain::handover::hand_over;
use crate::drain::partition;
use crate::drain::place::Place;
use crate::drain::sealed::Look;
use crate::drain::slots;
use crate::drain::topics::Verdict;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::planted;
use crate::planted::planted;
use crate::wal::Frame;
use crate::wal::Lsn;

/// What librdkafka and Kafka's format add to a record, roughly: bounds memory, not exact.
pub(super) const OVERHEAD: u64 = 256;

/// How a record goes.
#[derive(Clone, Copy)]
struct Way {
    /// Through the producer for single records.
    solo: bool,
    /// There, beside others of its partition.
    loose: bool,
}

impl Desk {
    /// Does what can be done with one record.
    pub(super) fn handle(&mut self, side: Side, frame: Frame<'_>) -> Step {
        if self.window.contains(frame.lsn) || self.court.grave.has(frame.lsn) {
            return Step::Done;
        }
        if self.court.grave.is_full() || self.has_failed() || !self.is_connected() {
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
        if self.is_of_another_side(topic, side) {
            return Step::Done;
        }
        let known = self.court.topics.get(topic);
        if known.is_due(now) || known.is_judged_before(frame.at, true, now) {
            // May close the topic's gate.
            self.ask(topic, true, now);
        }
        if self.gates.stop(whole, side, frame.lsn) {
            return Step::Done;
        }
        if self.court.topics.get(topic).is_unsettled() {
            if self.window.is_topic_busy(topic) {
                return self.hold(whole, frame.lsn);
            }
            self.settle(topic);
        }
        let (partitions, alone) = match self.court.topics.get(topic).verdict_on(frame.at) {
            Verdict::Send { partitions, alone } => (partitions, alone),
            Verdict::Wait => return Step::Wait,
            Verdict::Hold => return self.hold(whole, frame.lsn),
            Verdict::Bury(reason) => {
                self.court.bury(frame, reason);
                self.gates.passed(whole, frame.lsn);
                return Step::Done;
            }
        };
        if alone && self.window.is_topic_busy(topic) {
            // An older record is on its way and will prove the same.
            return self.hold(whole, frame.lsn);
        }
        let partition = match envelope.key {
            Some(key) => partition::of_key(key, partitions),
            None => partition::spread(frame.lsn, partitions, |partition| {
                !self.gates.is_closed(Place { topic, partition })
            }),
        };
        let place = Place { topic, partition };
        if self.gates.stop(place, side, frame.lsn) {
            return Step::Done;
        }
        if self.is_far_ahead(topic) {
            return self.hold(place, frame.lsn);
        }
        if (envelope.sealed || !self.slots.is_empty())
            && let Some(step) = self.unseal(side, frame, &envelope, topic)
        {
            return step;
        }
        self.admit(side, frame, &envelope, place, alone, now)
    }

    /// Whether what is held of this topic is left to another catch-up side.
    fn is_of_another_side(&self, topic: usize, side: Side) -> bool {
        match side {
            Side::Main => false,
            Side::CatchUp => self.asides.contains(&topic),
            Side::Aside(own) => own != topic,
        }
    }

    /// What to do instead of sending, where this record's value, or one of its key before it, is not made yet.
    fn unseal(
        &mut self,
        side: Side,
        frame: Frame<'_>,
        envelope: &Envelope<'_>,
        topic: usize,
    ) -> Option<Step> {
        let slot = slots::of(topic, envelope.key, frame.lsn);
        if self.slots.stops(slot, side, frame.lsn) {
            return Some(Step::Done);
        }
        if !envelope.sealed {
            return None;
        }
        if side == Side::Main && self.slots.has_queue() {
            // Older ones wait for room.
            self.slots.hold(slot, frame.lsn, false);
            return Some(Step::Done);
        }
        match self.sealed.look(frame.lsn, envelope) {
            Look::Ready => None,
            Look::Later => {
                let asked = self.sealed.is_asked(frame.lsn);
                self.slots.hold(slot, frame.lsn, asked);
                Some(Step::Done)
            }
            Look::Dead(reason) => {
                self.court.bury(frame, reason);
                self.slots.passed(slot);
                Some(Step::Done)
            }
        }
    }

    /// The window's part of the decision.
    fn admit(
        &mut self,
        side: Side,
        frame: Frame<'_>,
        envelope: &Envelope<'_>,
        place: Place,
        alone: bool,
        now: Instant,
    ) -> Step {
        let bytes = (frame.payload.len() as u64) + OVERHEAD;
        let way = self.way(frame, envelope, place, bytes, alone);
        let goes_alone = way.solo || !self.introductions.has(place, now);
        let busy = match goes_alone {
            _ if way.loose => false,
            true => self.window.is_busy(place),
            false => self.window.is_solo(place),
        };
        let topic = self.court.topics.get(place.topic);
        let (cap, is_slow) = (topic.cap, way.solo || topic.is_slow());
        if busy || !self.window.has_room_at(place, bytes, cap) {
            if self.window.has_stalled(place, now) {
                self.window.park(place);
                return self.hold(place, frame.lsn);
            }
            if is_slow {
                return self.wait_aside(side, place.topic, frame.lsn);
            }
            // One that is slow must not hold up the others. The catch-up side may be there for its sake alone.
            let holds_up = side == Side::Main || self.gates.any_other_open(place);
            if holds_up && self.window.refuse(place, now) {
                return self.hold(place, frame.lsn);
            }
            return Step::Wait;
        }
        if way.solo && self.solo.ready(now).is_none() {
            return self.wait_aside(side, place.topic, frame.lsn);
        }
        if !self.window.has_room(bytes) {
            self.parts.metrics.bound_hit.with_label_values(&["drain_window"]).inc();
            return Step::Wait;
        }
        self.send(frame, envelope, place, bytes, way, now)
    }

    /// Which producer a record goes through.
    fn way(
        &mut self,
        frame: Frame<'_>,
        envelope: &Envelope<'_>,
        place: Place,
        bytes: u64,
        alone: bool,
    ) -> Way {
        let has_key = envelope.key.is_some();
        let goes_singly = self.court.topics.get(place.topic).goes_singly(bytes, has_key)
            || self.court.suspects.singly(place, frame.lsn);
        let loose = goes_singly && !has_key && !alone && !self.court.suspects.weighs(place);
        Way { solo: alone || goes_singly, loose }
    }

    /// The record waits, and no other topic with it.
    fn wait_aside(&mut self, side: Side, topic: usize, lsn: Lsn) -> Step {
        if matches!(side, Side::Aside(_)) {
            return Step::Wait;
        }
        self.set_aside(topic, lsn);
        Step::Done
    }

    fn send(
        &mut self,
        frame: Frame<'_>,
        envelope: &Envelope<'_>,
        place: Place,
        bytes: u64,
        way: Way,
        now: Instant,
    ) -> Step {
        let Way { solo, loose } = way;
        let outlet = if solo { &self.solo } else { &self.main };
        let Some(producer) = outlet.producer() else { return Step::Wait };
        // Looked for right before: without one nothing leaves.
        let Some(value) = self.sealed.value(frame.lsn, envelope) else { return Step::Wait };
        let sent = hand_over(producer, frame, envelope, place, value);
        let attempts = self.court.attempts.get(&frame.lsn).copied().unwrap_or(0) + 1;
        if let Err(code) = sent {
            return self.not_taken(frame, place, code, attempts, solo, now);
        }
        if attempts > 1 {
            self.parts.metrics.retried.inc();
        }
        let (has_key, log_bytes, at) = (envelope.key.is_some(), frame.bytes, frame.at);
        let flight = Flight { place, bytes, log_bytes, at, attempts, has_key, solo, loose };
        self.window.add(frame.lsn, flight, now);
        if let Some(lead) = &self.parts.lead {
            lead.sent(envelope.topic, bytes);
        }
        if let Verdict::Send { alone: true, .. } = self.court.topics.get(place.topic).verdict() {
            self.court.topics.get(place.topic).tried(frame.lsn);
        }
        self.gates.passed(place, frame.lsn);
        if !self.slots.is_empty() {
            self.slots.passed(slots::of(place.topic, envelope.key, frame.lsn));
        }
        if planted(planted::Fault::ConfirmUnsent) {
            let (tag, partition) = (frame.lsn.0, place.partition);
            self.results.push(Delivery { tag, partition, offset: 0, error: None });
        }
        Step::Done
    }

    /// The producer did not take the record; nothing of it is in flight.
    fn not_taken(
        &mut self,
        frame: Frame<'_>,
        place: Place,
        code: ErrorCode,
        attempts: u32,
        solo: bool,
        now: Instant,
    ) -> Step {
        match self.court.not_taken(frame, place, code, attempts, now) {
            NotTaken::Buried => {
                self.gates.passed(place, frame.lsn);
                Step::Done
            }
            NotTaken::Hold => self.hold(Place::whole(place.topic), frame.lsn),
            NotTaken::Failed => {
                // The solo producer's end is seen with its results.
                self.broken |= !solo;
                Step::Wait
            }
            NotTaken::Passing => Step::Wait,
        }
    }

    pub(super) fn hold(&mut self, place: Place, lsn: Lsn) -> Step {
        self.gates.hold(place, lsn);
        Step::Done
    }
}
