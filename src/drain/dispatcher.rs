//! Decides about each record: send it, park it, wait, or make it a dead letter. No other code decides.
//!
//! The decision depends on the record's topic, partition, key and value, in this order. Before that, a record is
//! skipped if it is in flight, a dead letter, or behind a blocked lane. The [`Sender`] determines how a record is sent
//! and where it is parked.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::command::{Envelope, headers};
use crate::drain::deferred_values::ValueLookup;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::failure_policy::SendErrorAction;
use crate::drain::in_flight_record::{InFlightRecord, SendMode};
use crate::drain::lane_reader::{Disposition, ReadSide};
use crate::drain::partitioner;
use crate::drain::scope::{Scope, TopicPartition};
use crate::drain::sender::{Candidate, Sender};
use crate::drain::topic_state::Route;
use crate::drain::traced_records::ProduceSpan;
use crate::kafka::{ProducerRecord, TopicMetadata};
use crate::units::Timestamp;
use crate::wal::RecordRef;

/// Timeout for fetching a topic's metadata. The worker does nothing else meanwhile, and must send a heartbeat every
/// second.
pub(super) const METADATA_TIMEOUT: Duration = Duration::from_millis(800);

/// Decides about the records of one worker.
pub(super) struct Dispatcher<S> {
    pub(super) state: DispatchState,
    pub(super) sender: S,
}

impl<S: Sender> Dispatcher<S> {
    pub(super) fn new(state: DispatchState, sender: S) -> Self {
        Self { state, sender }
    }

    /// Whether a producer is available.
    pub(super) fn is_connected(&self) -> bool {
        self.sender.producer(false).is_some()
    }

    /// Whether the producer must be replaced before another record is sent.
    pub(super) fn must_replace_producer(&self) -> bool {
        self.state.must_replace_producer
            || self.sender.producer(false).is_some_and(|producer| producer.has_failed())
    }

    /// Stores the gathered dead letters.
    pub(super) fn store_dead_letters(&mut self, now: Instant) {
        self.state.policy.store_dead_letters(&self.state.context, now);
    }

    /// Ends a rescan: all records since the first parked one were read again.
    pub(super) fn end_rescan(&mut self, now: Instant) {
        self.state.rescan.end(now);
    }

    /// Fetches the metadata of every topic that is due.
    pub(super) fn refresh_topics(&mut self, now: Instant) {
        for topic in self.state.policy.due_topics(now) {
            // The other topics follow in the next turn, after a heartbeat.
            if self.refresh_topic(topic, self.sender.has_parked_topic(topic), now)
                == Some(TopicMetadata::Unavailable)
                || now.elapsed() > METADATA_TIMEOUT / 8
            {
                break;
            }
        }
    }

    /// Fetches a topic's metadata. With `create_if_missing`, the brokers may create the topic.
    pub(super) fn refresh_topic(
        &mut self,
        topic: usize,
        create_if_missing: bool,
        now: Instant,
    ) -> Option<TopicMetadata> {
        let policy = &mut self.state.policy;
        let (producer, name) = (self.sender.producer(false)?, policy.topic_name(topic));
        let metadata = if create_if_missing {
            producer.fetch_or_create_topic(name, METADATA_TIMEOUT)
        } else {
            producer.fetch_metadata(name, METADATA_TIMEOUT)
        };
        policy.on_metadata(topic, metadata, now);
        self.sender.on_metadata(policy, topic, metadata);
        Some(metadata)
    }

    /// Checks whether the record can be dispatched now, and dispatches it.
    pub(super) fn dispatch(&mut self, side: ReadSide, frame: RecordRef<'_>) -> Disposition {
        if self.state.in_flight.contains(frame.lsn)
            || self.state.policy.is_dead(frame.lsn)
            || self.sender.is_lane_blocked(&mut self.state, frame)
        {
            return Disposition::Processed;
        }
        if self.state.policy.must_store_dead_letters() || self.must_replace_producer() || !self.is_connected()
        {
            return Disposition::Wait;
        }
        let envelope = match Envelope::decode(frame.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.state.policy.dead_letter_undecodable(frame, &error);
                return Disposition::Processed;
            }
        };
        let now = Instant::now();
        let topic = self.state.policy.topic_number(envelope.topic, now);
        if self.sender.is_read_elsewhere(side, topic) {
            return Disposition::Processed;
        }
        self.decide(&Candidate { side, frame, envelope, topic, now })
    }

    /// Decides by topic, partition, key and value.
    fn decide(&mut self, record: &Candidate<'_>) -> Disposition {
        let &Candidate { frame, topic, now, .. } = record;
        let topic_state = self.state.policy.topic(topic);
        // This precedes the check whether the topic is parked, because the metadata may park it.
        if topic_state.is_due(now) || topic_state.was_refused_by(frame.at, record.has_key(), now) {
            self.refresh_topic(topic, true, now);
        }
        let Self { state, sender } = self;
        if sender.is_topic_blocked(state, record) {
            return Disposition::Processed;
        }
        let (partitions, alone) = match state.policy.topic(topic).route_record(frame.at, record.has_key()) {
            Route::Send { partitions, alone } => (partitions, alone),
            Route::Wait => return Disposition::Wait,
            Route::Park => return sender.park(state, record, Scope::Topic(topic)),
            Route::DeadLetter(reason) => return self.dead_letter(record, Scope::Topic(topic), reason),
        };
        if alone && state.in_flight.is_topic_busy(topic) {
            // A record of this topic is in flight. Its result also shows whether the topic accepts records again.
            return sender.wait_for_topic(record);
        }
        let partition = match record.envelope.key {
            Some(key) => partitioner::for_key(key, partitions),
            None => partitioner::for_keyless(frame.lsn, partitions, |partition| {
                !sender.is_closed(TopicPartition::new(topic, partition))
            }),
        };
        let destination = TopicPartition::new(topic, partition);
        if sender.is_partition_blocked(record, destination) {
            return Disposition::Processed;
        }
        if state.is_backpressured(topic) {
            return sender.park(state, record, destination.into());
        }
        if sender.is_key_blocked(record) {
            return Disposition::Processed;
        }
        if record.envelope.sealed {
            match state.values.look_up(frame.lsn, &record.envelope) {
                ValueLookup::Ready => {}
                ValueLookup::Pending => return sender.park(state, record, Scope::Deferred(topic)),
                ValueLookup::DeadLetter(reason) => {
                    return self.dead_letter(record, destination.into(), reason);
                }
            }
        }
        match sender.admit(state, record, destination, alone) {
            Ok(mode) => self.send(record, destination, mode, alone),
            Err(disposition) => disposition,
        }
    }

    fn dead_letter(&mut self, record: &Candidate<'_>, scope: Scope, reason: &'static str) -> Disposition {
        self.state.policy.dead_letter(record.frame, reason);
        self.sender.on_passed(record, scope);
        Disposition::Processed
    }

    /// Hands a record to a producer. No other code does this.
    fn send(
        &mut self,
        record: &Candidate<'_>,
        destination: TopicPartition,
        mode: SendMode,
        alone: bool,
    ) -> Disposition {
        let Self { state, sender } = self;
        let &Candidate { frame, ref envelope, now, .. } = record;
        let Some(producer) = sender.producer(mode.solo) else { return Disposition::Wait };
        // The value is passed separately from the envelope, because the envelope's own value must not be sent while
        // it is deferred. It is looked up right before sending. Without a final value nothing is sent.
        let Some(value) = state.values.value(frame.lsn, envelope) else { return Disposition::Wait };
        let span = state.traced.begin(envelope);
        let traceparent = span.as_ref().map(ProduceSpan::traceparent_header);
        let sent = producer.send(&ProducerRecord {
            tag: frame.lsn.0,
            topic: envelope.topic,
            partition: destination.partition,
            key: envelope.key,
            headers: &record_headers(envelope, frame.at, traceparent.as_deref()),
            value: (!envelope.no_value).then(|| value.bytes()),
        });
        let attempts = state.policy.next_attempt(frame.lsn);
        if let Err(code) = sent {
            // The producer did not take the record.
            return match state.policy.on_send_error(frame, destination, code, attempts, now) {
                SendErrorAction::DeadLetter => {
                    sender.on_passed(record, destination.into());
                    Disposition::Processed
                }
                SendErrorAction::ParkTopic => sender.park(state, record, Scope::Topic(record.topic)),
                SendErrorAction::Wait => {
                    state.must_replace_producer |= sender.is_producer_lost(code, mode.solo);
                    Disposition::Wait
                }
            };
        }
        let flight =
            InFlightRecord::new(destination, mode, record.bytes(), frame, record.has_key(), attempts);
        state.on_sent(frame.lsn, flight, now);
        if let Some(produce) = span {
            if attempts == 1 {
                state.traced.on_first_sent(&produce, frame);
            }
            state.traced.on_sent(frame.lsn, produce);
        }
        if alone {
            state.policy.topic(record.topic).begin_trial(frame.lsn);
        }
        sender.on_sent(state, record, &flight);
        Disposition::Processed
    }
}

/// The record's headers. The header of a sampled record refers to the span of its sending, and through it to the span
/// of its request.
fn record_headers<'a>(
    envelope: &Envelope<'a>,
    at: Timestamp,
    traceparent: Option<&'a str>,
) -> Vec<(&'a str, Cow<'a, str>)> {
    match traceparent {
        None => headers(envelope, at),
        Some(_) => headers(&Envelope { traceparent, ..envelope.clone() }, at),
    }
}
