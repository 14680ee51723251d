//! Sends with two producers, one for the many and one for single records, and holds back partitions, topics and keys.

use std::collections::HashSet;
use std::time::Instant;

use super::gates::Gates;
use super::introductions::Introductions;
use super::outlet::Outlet;
use super::slots;
use super::slots::Slots;
use crate::drain::court::Court;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::feed::Side;
use crate::drain::feed::Step;
use crate::drain::flight::Flight;
use crate::drain::flight::Way;
use crate::drain::place::Place;
use crate::drain::sender::Candidate;
use crate::drain::sender::Sender;
use crate::kafka::Answer;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::kafka::Fault;
use crate::kafka::Producer;
use crate::kafka::classify;
use crate::planted;
use crate::planted::planted;
use crate::wal::Lsn;

pub(super) struct PlainSender {
    /// For the many.
    pub(super) main: Outlet,
    /// For records that go alone: suspects and trials. A refusal does not stop it, because nothing can overtake.
    pub(super) solo: Outlet,
    pub(super) gates: Gates,
    /// Topics with a catch-up side of their own.
    pub(super) asides: HashSet<usize>,
    /// Keys that wait for a value.
    pub(super) slots: Slots,
    /// To the main producer; records of the other go alone anyway.
    pub(super) introductions: Introductions,
    /// Whether values came in that no slot was opened for yet.
    pub(super) has_news: bool,
}

impl PlainSender {
    pub(super) fn new(main: Outlet, solo: Outlet) -> Self {
        Self {
            main,
            solo,
            gates: Gates::default(),
            asides: HashSet::new(),
            slots: Slots::default(),
            introductions: Introductions::default(),
            has_news: false,
        }
    }

    /// Records held back, with the number of their topic.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64)> {
        self.gates.waiting().chain(self.slots.waiting())
    }

    /// Nothing of the topic is in flight.
    pub(super) fn settle(&mut self, court: &mut Court, topic: usize) {
        if court.topic(topic).is_unsettled() {
            court.topic(topic).settle();
            self.introductions.forget_topic(topic);
        }
    }

    /// A partition confirmed a record.
    pub(super) fn arrived(&mut self, flight: &Flight, now: Instant) {
        if flight.solo {
            self.solo.works();
        } else {
            self.main.works();
            self.introductions.confirmed(flight.place, now);
        }
    }

    fn hold(&mut self, place: Place, lsn: Lsn) -> Step {
        self.gates.hold(place, lsn);
        Step::Done
    }

    /// The record waits, and no other topic with it: its topic gets a catch-up side of its own, from this record on or
    /// from what was held before.
    fn wait_aside(&mut self, record: &Candidate<'_>) -> Step {
        if matches!(record.side, Side::Aside(_)) {
            return Step::Wait;
        }
        self.gates.gather(record.topic);
        self.asides.insert(record.topic);
        self.hold(Place::whole(record.topic), record.lsn())
    }

    /// No room, or something in flight that it must not overtake.
    fn wait_for_partition(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: Place,
        way: Way,
    ) -> Step {
        let window = &mut state.window;
        if window.has_stalled(place, record.now) {
            window.park(place);
            return self.hold(place, record.lsn());
        }
        if way.solo || state.court.topic(place.topic).caution.is_slow() {
            return self.wait_aside(record);
        }
        // One that is slow must not hold up the others. The catch-up side may be there for its sake alone.
        let holds_up = record.side == Side::Main || self.gates.any_other_open(place);
        if holds_up && window.refuse(place, record.now) {
            return self.hold(place, record.lsn());
        }
        Step::Wait
    }

    /// Whether something in flight to the partition must be confirmed before this record goes.
    fn is_busy(&self, state: &DispatchState, place: Place, way: Way, now: Instant) -> bool {
        match way {
            Way { loose: true, .. } => false,
            Way { solo: false, .. } if self.introductions.has(place, now) => state.window.is_solo(place),
            _ => state.window.is_busy(place),
        }
    }
}

impl Sender for PlainSender {
    fn producer(&self, solo: bool) -> Option<&Producer> {
        let outlet = if solo { &self.solo } else { &self.main };
        outlet.producer()
    }

    fn holds(&self, topic: usize) -> bool {
        self.gates.waiting().any(|(held, records)| held == topic && records > 0)
    }

    fn is_closed(&self, place: Place) -> bool {
        self.gates.is_closed(place)
    }

    fn answered(&mut self, court: &mut Court, topic: usize, _: Answer) {
        if court.topic(topic).is_unsettled() {
            self.gates.gather(topic);
        }
    }

    fn is_of_another_side(&self, side: Side, topic: usize) -> bool {
        match side {
            Side::Main => false,
            Side::CatchUp => self.asides.contains(&topic),
            Side::Aside(own) => own != topic,
        }
    }

    fn stops_topic(&mut self, state: &mut DispatchState, record: &Candidate<'_>) -> bool {
        let whole = Place::whole(record.topic);
        if self.gates.stop(whole, record.side, record.lsn()) {
            return true;
        }
        // The partition of its key may be another one than for records in flight.
        let is_unsettled = state.court.topic(record.topic).is_unsettled();
        if is_unsettled && state.window.is_topic_busy(record.topic) {
            self.gates.hold(whole, record.lsn());
            return true;
        }
        self.settle(&mut state.court, record.topic);
        false
    }

    fn wait_for_topic(&mut self, record: &Candidate<'_>) -> Step {
        self.hold(Place::whole(record.topic), record.lsn())
    }

    fn stops_partition(&mut self, record: &Candidate<'_>, place: Place) -> bool {
        self.gates.stop(place, record.side, record.lsn())
    }

    fn stops_key(&mut self, record: &Candidate<'_>) -> bool {
        if !record.envelope.sealed && self.slots.is_empty() {
            return false;
        }
        let slot = slots::of(record);
        if self.slots.stops(slot, record.side, record.lsn()) {
            return true;
        }
        // Older ones wait for room.
        let must_queue = record.envelope.sealed && record.side == Side::Main && self.slots.has_queue();
        if must_queue {
            self.slots.hold(slot, record.lsn(), false);
        }
        must_queue
    }

    fn admit(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: Place,
        alone: bool,
    ) -> Result<Way, Step> {
        let (bytes, has_key) = (record.bytes(), record.has_key());
        let caution = &state.court.topic(place.topic).caution;
        let (cap, goes_singly) = (caution.cap, caution.goes_singly(bytes, has_key));
        let goes_singly = goes_singly || state.court.is_suspect(place, record.lsn());
        let loose = goes_singly && !has_key && !alone && !state.court.weighs(place);
        let way = Way { solo: alone || goes_singly, loose };
        if self.is_busy(state, place, way, record.now) || !state.window.has_room_at(place, bytes, cap) {
            return Err(self.wait_for_partition(state, record, place, way));
        }
        if way.solo && self.solo.ready(record.now).is_none() {
            return Err(self.wait_aside(record));
        }
        if !state.window.has_room(bytes) {
            state.parts.metrics.bound_hit.with_label_values(&["drain_window"]).inc();
            return Err(Step::Wait);
        }
        Ok(way)
    }

    fn park(&mut self, state: &DispatchState, record: &Candidate<'_>, place: Place) -> Step {
        if place.is_sealed() {
            let asked = state.sealed.is_asked(record.lsn());
            self.slots.hold(slots::of(record), record.lsn(), asked);
            return Step::Done;
        }
        self.hold(place, record.lsn())
    }

    fn sent(&mut self, state: &mut DispatchState, record: &Candidate<'_>, flight: &Flight) {
        self.passed(record, flight.place);
        if planted(planted::Fault::ConfirmUnsent) {
            let (tag, partition) = (record.lsn().0, flight.place.partition);
            state.results.push(Delivery { tag, partition, offset: 0, error: None });
        }
    }

    fn passed(&mut self, record: &Candidate<'_>, place: Place) {
        self.gates.passed(place, record.lsn());
        if !self.slots.is_empty() {
            self.slots.passed(slots::of(record));
        }
    }

    fn is_lost(&self, code: ErrorCode, solo: bool) -> bool {
        // The solo producer's end is seen with its results.
        !solo && classify(code) == Fault::Producer
    }
}
