//! The one place that decides about a record: send it, hold it back, wait, or make it a dead letter.
//!
//! Whether it may go is decided from what is known of its topic, its partition, its key and its value, in this order.
//! How it is sent, and where it waits, is the [`Sender`]'s.

use std::time::Duration;
use std::time::Instant;

use crate::command::Envelope;
use crate::command::headers;
use crate::drain::court::NotTaken;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::feed::Side;
use crate::drain::feed::Step;
use crate::drain::flight::Flight;
use crate::drain::flight::Way;
use crate::drain::partition;
use crate::drain::place::Place;
use crate::drain::sealed::Look;
use crate::drain::sender::Candidate;
use crate::drain::sender::Sender;
use crate::drain::topic::Verdict;
use crate::kafka::Answer;
use crate::kafka::Message;
use crate::wal::Frame;

/// How long the brokers have to answer about a topic. The worker does nothing else meanwhile, and owes a heartbeat
/// every second.
pub(super) const ASK: Duration = Duration::from_millis(800);

/// One worker's decisions.
pub(super) struct Dispatcher<S> {
    pub(super) state: DispatchState,
    pub(super) sender: S,
}

impl<S: Sender> Dispatcher<S> {
    pub(super) fn new(state: DispatchState, sender: S) -> Self {
        Self { state, sender }
    }

    /// Whether there is a producer to send with.
    pub(super) fn is_connected(&self) -> bool {
        self.sender.producer(false).is_some()
    }

    /// Whether a producer must be dealt with before anything else is sent.
    pub(super) fn has_failed(&self) -> bool {
        self.state.has_failed || self.sender.producer(false).is_some_and(|producer| producer.has_failed())
    }

    /// Stores the dead letters there are.
    pub(super) fn store_dead_letters(&mut self, now: Instant) {
        self.state.court.store_dead_letters(&self.state.parts, now);
    }

    /// Everything since the first record held was looked at.
    pub(super) fn end_pass(&mut self, now: Instant) {
        self.state.pass.end(now);
    }

    /// Asks about every topic that is due.
    pub(super) fn ask_about_topics(&mut self, now: Instant) {
        for topic in self.state.court.due_topics(now) {
            // The rest in the next turn, after a heartbeat.
            if self.ask(topic, self.sender.holds(topic), now) == Some(Answer::Away) || now.elapsed() > ASK / 8
            {
                break;
            }
        }
    }

    /// Asks the brokers about a topic. A topic that a record waits for is created where they allow it.
    pub(super) fn ask(&mut self, topic: usize, waits: bool, now: Instant) -> Option<Answer> {
        let court = &mut self.state.court;
        let (producer, name) = (self.sender.producer(false)?, court.topic_name(topic));
        let answer = if waits { producer.ask_or_create(name, ASK) } else { producer.ask(name, ASK) };
        court.answered(topic, answer, now);
        self.sender.answered(court, topic, answer);
        Some(answer)
    }

    /// Does what can be done with one record.
    pub(super) fn dispatch(&mut self, side: Side, frame: Frame<'_>) -> Step {
        if self.state.window.contains(frame.lsn)
            || self.state.court.is_dead(frame.lsn)
            || self.sender.stops_lane(&mut self.state, frame)
        {
            return Step::Done;
        }
        if self.state.court.must_store() || self.has_failed() || !self.is_connected() {
            return Step::Wait;
        }
        let envelope = match Envelope::decode(frame.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.state.court.bury_undecodable(frame, &error);
                return Step::Done;
            }
        };
        let now = Instant::now();
        let topic = self.state.court.topic_number(envelope.topic, now);
        if self.sender.is_of_another_side(side, topic) {
            return Step::Done;
        }
        self.decide(&Candidate { side, frame, envelope, topic, now })
    }

    /// By topic, partition, key and value.
    fn decide(&mut self, record: &Candidate<'_>) -> Step {
        let &Candidate { frame, topic, now, .. } = record;
        let known = self.state.court.topic(topic);
        if known.is_due(now) || known.is_judged_before(frame.at, record.has_key(), now) {
            self.ask(topic, true, now);
        }
        let Self { state, sender } = self;
        if sender.stops_topic(state, record) {
            return Step::Done;
        }
        let (partitions, alone) = match state.court.topic(topic).verdict_on(frame.at, record.has_key()) {
            Verdict::Send { partitions, alone } => (partitions, alone),
            Verdict::Wait => return Step::Wait,
            Verdict::Hold => return sender.park(state, record, Place::whole(topic)),
            Verdict::Bury(reason) => return self.bury(record, Place::whole(topic), reason),
        };
        if alone && state.window.is_topic_busy(topic) {
            // An older record is on its way and will prove the same.
            return sender.wait_for_topic(record);
        }
        let partition = match record.envelope.key {
            Some(key) => partition::of_key(key, partitions),
            None => partition::spread(frame.lsn, partitions, |partition| {
                !sender.is_closed(Place::new(topic, partition))
            }),
        };
        let place = Place::new(topic, partition);
        if sender.stops_partition(record, place) {
            return Step::Done;
        }
        if state.is_far_ahead(topic) {
            return sender.park(state, record, place);
        }
        if sender.stops_key(record) {
            return Step::Done;
        }
        if record.envelope.sealed {
            match state.sealed.look(frame.lsn, &record.envelope) {
                Look::Ready => {}
                Look::Later => return sender.park(state, record, Place::sealed(topic)),
                Look::Dead(reason) => return self.bury(record, place, reason),
            }
        }
        match sender.admit(state, record, place, alone) {
            Ok(way) => self.send(record, place, way, alone),
            Err(step) => step,
        }
    }

    fn bury(&mut self, record: &Candidate<'_>, place: Place, reason: &'static str) -> Step {
        self.state.court.bury(record.frame, reason);
        self.sender.passed(record, place);
        Step::Done
    }

    /// Hands a record to a producer: the only place where one leaves.
    fn send(&mut self, record: &Candidate<'_>, place: Place, way: Way, alone: bool) -> Step {
        let Self { state, sender } = self;
        let &Candidate { frame, ref envelope, now, .. } = record;
        let Some(producer) = sender.producer(way.solo) else { return Step::Wait };
        // Apart from the envelope, because that of a sealed record must not leave. Looked for right before: without one
        // nothing leaves.
        let Some(value) = state.sealed.value(frame.lsn, envelope) else { return Step::Wait };
        let sent = producer.send(&Message {
            tag: frame.lsn.0,
            topic: envelope.topic,
            partition: place.partition,
            key: envelope.key,
            headers: &headers(envelope, frame.at),
            value: value.bytes(),
        });
        let attempts = state.court.next_attempt(frame.lsn);
        if let Err(code) = sent {
            // Nothing of it is in flight.
            return match state.court.not_taken(frame, place, code, attempts, now) {
                NotTaken::Buried => {
                    sender.passed(record, place);
                    Step::Done
                }
                NotTaken::Hold => sender.park(state, record, Place::whole(record.topic)),
                NotTaken::Wait => {
                    state.has_failed |= sender.is_lost(code, way.solo);
                    Step::Wait
                }
            };
        }
        let flight = Flight::new(place, way, record.bytes(), frame, record.has_key(), attempts);
        state.sent(frame.lsn, flight, now);
        if alone {
            state.court.topic(record.topic).tried(frame.lsn);
        }
        sender.sent(state, record, &flight);
        Step::Done
    }
}
