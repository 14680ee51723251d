//! What a worker decides with: everything it knows about topics, partitions and what is in flight.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use crate::drain::board::Parts;
use crate::drain::court::Court;
use crate::drain::gates::Gates;
use crate::drain::gates::Side;
use crate::drain::introductions::Introductions;
use crate::drain::outlet::Outlet;
use crate::drain::place::Place;
use crate::drain::sealed::Pass;
use crate::drain::sealed::Sealed;
use crate::drain::slots::Slots;
use crate::drain::topics::Verdict;
use crate::drain::window::Window;
use crate::kafka::Answer;
use crate::kafka::Delivery;
use crate::wal::Lsn;

/// How long the brokers have to answer about a topic. The worker does nothing else meanwhile, and owes a heartbeat
/// every second.
pub(super) const ASK: Duration = Duration::from_millis(800);

pub(super) struct Desk {
    pub(super) parts: Parts,
    /// For the many.
    pub(super) main: Outlet,
    /// For records that go alone: suspects and trials. A refusal does not stop it, because nothing can overtake.
    pub(super) solo: Outlet,
    pub(super) gates: Gates,
    /// Topics with a catch-up side of their own.
    pub(super) asides: HashSet<usize>,
    /// Keys that wait for a value of `sealed`.
    pub(super) slots: Slots,
    pub(super) sealed: Sealed,
    pub(super) pass: Pass,
    pub(super) window: Window,
    pub(super) court: Court,
    /// To the main producer; records of the other go alone anyway.
    pub(super) introductions: Introductions,
    /// When a broker last confirmed anything.
    pub(super) arrived_at: Instant,
    /// Whether the producer refused to take records because it failed.
    pub(super) broken: bool,
    /// Whether values came in that no slot was opened for yet.
    has_news: bool,
    pub(super) results: Vec<Delivery>,
}

impl Desk {
    pub(super) fn new(
        parts: Parts,
        main: Outlet,
        solo: Outlet,
        window: Window,
        sealed: Sealed,
        court: Court,
    ) -> Self {
        Self {
            parts,
            main,
            solo,
            gates: Gates::default(),
            asides: HashSet::new(),
            slots: Slots::default(),
            sealed,
            pass: Pass::default(),
            window,
            court,
            introductions: Introductions::default(),
            arrived_at: Instant::now(),
            broken: false,
            has_news: false,
            results: Vec::new(),
        }
    }

    /// Whether a producer must be dealt with before anything else is sent.
    pub(super) fn has_failed(&self) -> bool {
        self.broken || self.main.producer().is_some_and(|producer| producer.has_failed())
    }

    /// Whether there is a producer to send with.
    pub(super) fn is_connected(&self) -> bool {
        self.main.producer().is_some()
    }

    /// Whether time alone can change nothing here.
    pub(super) fn is_quiet(&self) -> bool {
        let nothing_waits = self.window.len() == 0 && self.gates.is_empty() && self.slots.is_empty();
        nothing_waits && self.is_connected() && self.court.grave.is_empty()
    }

    /// Builds a producer, asks about topics, lets go of what is not needed: whatever is due.
    pub(super) fn tend(&mut self, now: Instant) {
        self.main.ready(now);
        for topic in self.court.topics.due(now) {
            // The rest in the next turn, after a heartbeat.
            let waits = self.gates.waiting().any(|(held, records)| held == topic && records > 0);
            if self.ask(topic, waits, now) == Some(Answer::Away) || now.elapsed() > ASK / 8 {
                break;
            }
        }
        if self.window.len_of(true) == 0 {
            self.solo.close_idle(now);
        }
    }

    /// Asks the brokers about a topic. A topic that a record waits for is created where they allow it.
    pub(super) fn ask(&mut self, topic: usize, waits: bool, now: Instant) -> Option<Answer> {
        let (producer, name) = (self.main.producer()?, self.court.topics.name(topic));
        let answer = if waits { producer.ask_or_create(name, ASK) } else { producer.ask(name, ASK) };
        self.court.answered(topic, answer, now);
        if self.court.topics.get(topic).is_unsettled() {
            self.gates.gather(topic);
        }
        Some(answer)
    }

    /// Gives the topic a catch-up side of its own, from this record on or from what was held before.
    pub(super) fn set_aside(&mut self, topic: usize, lsn: Lsn) {
        self.gates.gather(topic);
        self.gates.hold(Place::whole(topic), lsn);
        self.asides.insert(topic);
    }

    /// Which side takes what is held of a topic.
    fn side_of(&self, topic: usize) -> Side {
        if self.asides.contains(&topic) { Side::Aside(topic) } else { Side::CatchUp }
    }

    /// Opens every gate whose reason is gone; says which catch-up sides must begin where.
    pub(super) fn reopen(&mut self, now: Instant) -> Vec<(Side, Lsn)> {
        let mut begin = Vec::new();
        for place in self.gates.closed() {
            if !self.may_open(place, now) {
                continue;
            }
            if place.is_whole() {
                self.settle(place.topic);
            }
            begin.extend(self.gates.open(place).map(|first| (self.side_of(place.topic), first)));
        }
        begin
    }

    /// Nothing of the topic is in flight.
    pub(super) fn settle(&mut self, topic: usize) {
        if self.court.topics.get(topic).is_unsettled() {
            self.court.topics.get(topic).settle();
            self.introductions.forget_topic(topic);
        }
    }

    /// A catch-up side met the main one.
    pub(super) fn met(&mut self, side: Side, head: Lsn) {
        if let Side::Aside(topic) = side {
            self.gates.met(|of| of == topic);
            self.asides.remove(&topic);
        } else {
            self.gates.met(|topic| !self.asides.contains(&topic));
            self.slots.reached(head);
        }
    }

    /// Opens slots whose value was made, or can be asked for now, where a catch-up side at `position` comes by or a new
    /// one may begin; says from where it must.
    pub(super) fn reopen_slots(&mut self, position: Option<Lsn>, now: Instant) -> Option<Lsn> {
        let news = self.sealed.collect();
        if self.slots.is_empty() {
            return None;
        }
        self.has_news |= news;
        let worth = match position {
            // A side under way is helped with what is new alone.
            Some(_) => news,
            None => self.has_news || (self.slots.has_queue() && self.sealed.has_much_room()),
        };
        if !worth || (position.is_none() && !self.pass.may_begin(now)) {
            return None;
        }
        let (sealed, room) = (&self.sealed, self.sealed.room());
        let from = position.unwrap_or_default();
        let first = self.slots.open(from, room, |lsn| sealed.is_made(lsn), |lsn| sealed.is_asked(lsn));
        // What lies behind a side under way waits for the next one.
        self.has_news = position.is_some();
        if first.is_some() && position.is_none() {
            self.pass.begin(now);
        }
        first
    }

    /// Whether the catch-up side, having come this far, has nothing more to do.
    pub(super) fn is_caught_up(&mut self, position: Lsn) -> bool {
        self.slots.reached(position);
        !self.slots.any_open() && !self.gates.any_open(|topic| !self.asides.contains(&topic))
    }

    /// Whether records of this topic wait for whoever applies them.
    pub(super) fn is_far_ahead(&self, topic: usize) -> bool {
        self.parts.lead.as_ref().is_some_and(|lead| lead.is_far(self.court.topics.name(topic)))
    }

    fn may_open(&mut self, place: Place, now: Instant) -> bool {
        let topic = place.topic;
        if !place.is_whole() {
            let takes_more = !self.window.is_parked(place) && !self.window.is_slow(place);
            let is_held = self.gates.is_closed(Place::whole(topic));
            return takes_more && !is_held && !self.is_far_ahead(topic);
        }
        let known = self.court.topics.get(topic);
        match known.verdict() {
            Verdict::Send { alone, .. } if alone || known.is_unsettled() => {
                // What hangs is called back, or it would hold the topic for as long.
                self.broken |= known.is_unsettled() && self.window.has_topic_stalled(topic, now);
                !self.window.is_topic_busy(topic)
            }
            Verdict::Send { .. } | Verdict::Bury(_) => true,
            Verdict::Hold | Verdict::Wait => false,
        }
    }

    /// Records held back, by topic; topics without any are there with zero, so that their gauge goes back.
    pub(super) fn count_parked(&self, counts: &mut BTreeMap<String, u64>) {
        counts.values_mut().for_each(|count| *count = 0);
        for (topic, waiting) in self.gates.waiting().chain(self.slots.waiting()) {
            *counts.entry(self.court.topics.name(topic).to_string()).or_default() += waiting;
        }
    }
}
