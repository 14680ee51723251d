//! What a worker does after Kafka rejects a record or a topic: isolate a batch, park a topic, or store a dead letter.
//! The policy is the same with and without transactions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::command::EnvelopeError;
use crate::drain::context::Context;
use crate::drain::dead_letter_buffer::DeadLetterBuffer;
use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::known_topics::KnownTopics;
use crate::drain::lane_reader::owned;
use crate::drain::poison_isolation::PoisonIsolation;
use crate::drain::scope::TopicPartition;
use crate::drain::topic_state::{Route, TopicState};
use crate::kafka::{DeliveryFault, ErrorCode, TopicMetadata, classify};
use crate::wal::{Log, Lsn, RecordRef};

/// Decides whether a topic, a batch or a record is at fault, as far as one worker knows.
pub(super) struct FailurePolicy {
    log: Arc<Log>,
    grace: Duration,
    topics: KnownTopics,
    isolation: PoisonIsolation,
    dead_letters: DeadLetterBuffer,
    /// How often the records that need another attempt were sent. Bounded by the in-flight limit.
    attempts: HashMap<Lsn, u32>,
}

/// A record that a producer returned without delivering it.
#[derive(Clone, Copy)]
pub(super) struct FailedRecord {
    pub(super) lsn: Lsn,
    pub(super) topic_partition: TopicPartition,
    pub(super) bytes: u64,
    pub(super) has_key: bool,
    pub(super) fault: DeliveryFault,
    /// Whether no other record was in its batch. Kafka rejects whole batches.
    pub(super) was_alone: bool,
}

impl FailedRecord {
    /// Creates it from a record that was in flight.
    pub(super) fn new(lsn: Lsn, flight: &InFlightRecord, code: ErrorCode, alone: bool) -> Self {
        let &InFlightRecord { topic_partition: place, bytes, has_key, .. } = flight;
        Self { lsn, topic_partition: place, bytes, has_key, fault: classify(code), was_alone: alone }
    }
}

/// What to do about a record that the producer did not accept.
pub(super) enum SendErrorAction {
    /// No action: the record is in the dead-letter buffer.
    DeadLetter,
    /// Park its topic.
    ParkTopic,
    /// Wait: neither the record nor its topic is at fault.
    Wait,
}

impl FailurePolicy {
    /// Creates a policy. `grace` is how long a topic may be at fault before its records become dead letters.
    /// `refresh` is the interval between metadata requests for a healthy topic.
    pub(super) fn new(context: &Context, backoff: &Backoff, grace: Duration, refresh: Duration) -> Self {
        Self {
            log: Arc::clone(&context.log),
            grace,
            topics: KnownTopics::new(backoff.clone(), refresh, context.metrics.sent.clone()),
            isolation: PoisonIsolation::default(),
            dead_letters: DeadLetterBuffer::new(backoff.clone(), context.log.is_encrypting()),
            attempts: HashMap::new(),
        }
    }

    /// The number of a topic within the worker.
    pub(super) fn topic_number(&mut self, name: &str, now: Instant) -> usize {
        self.topics.number(name, now)
    }

    pub(super) fn topic_name(&self, number: usize) -> &Arc<str> {
        self.topics.name(number)
    }

    pub(super) fn topic(&mut self, number: usize) -> &mut TopicState {
        self.topics.get(number)
    }

    /// Topics that the brokers reject, with the reason.
    pub(super) fn refused_topics(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.topics.refused()
    }

    /// Topics whose metadata is due now.
    pub(super) fn due_topics(&self, now: Instant) -> Vec<usize> {
        self.topics.due(now)
    }

    /// Whether the route of this topic is final: send or dead letter.
    pub(super) fn is_route_known(&self, topic: usize) -> bool {
        matches!(self.topics.route(topic), Route::Send { .. } | Route::DeadLetter(_))
    }

    /// Whether this record is a dead letter that is not stored yet.
    pub(super) fn is_dead(&self, lsn: Lsn) -> bool {
        self.dead_letters.contains(lsn)
    }

    /// Whether dead letters must be stored before another record is processed.
    pub(super) fn must_store_dead_letters(&self) -> bool {
        self.dead_letters.is_full()
    }

    /// Whether there are dead letters that are not stored yet.
    pub(super) fn has_unstored_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Stores the gathered dead letters.
    pub(super) fn store_dead_letters(&mut self, context: &Context, now: Instant) {
        self.dead_letters.store(context, now);
    }

    /// Stores the dead letters once there are many, or once they have waited for others.
    pub(super) fn store_gathered_dead_letters(&mut self, context: &Context, now: Instant) {
        self.dead_letters.store_if_due(context, now);
    }

    /// Whether a rejected batch of this partition may have included this record. Such a record is sent alone.
    pub(super) fn is_suspect(&self, place: TopicPartition, lsn: Lsn) -> bool {
        self.isolation.must_send_alone(place, lsn)
    }

    /// Whether a batch of this partition was too large. Its records are sent in order, to find the one that is.
    pub(super) fn was_batch_too_large(&self, place: TopicPartition) -> bool {
        self.isolation.was_batch_too_large(place)
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.isolation.is_empty()
    }

    /// Number of the next attempt to send a record.
    pub(super) fn next_attempt(&self, lsn: Lsn) -> u32 {
        self.attempts.get(&lsn).copied().unwrap_or(0) + 1
    }

    /// Keeps the number of attempts of a record that Kafka confirmed in a transaction that was aborted. The record is
    /// sent again.
    pub(super) fn record_attempts(&mut self, lsn: Lsn, attempts: u32) {
        self.attempts.insert(lsn, attempts);
    }

    /// Processes a topic's metadata.
    pub(super) fn on_metadata(&mut self, topic: usize, answer: TopicMetadata, now: Instant) {
        if let TopicMetadata::Refused(reason) = answer {
            self.log_fault(topic, reason);
        }
        self.topics.get(topic).on_metadata(answer, now, self.grace);
    }

    /// Marks the topic of a confirmed record as healthy, and forgets the record's attempts.
    pub(super) fn on_confirmed(&mut self, flight: &InFlightRecord, lsn: Lsn) {
        let topic = self.topics.get(flight.topic_partition.topic);
        topic.constraints.on_record_confirmed(flight.has_key);
        if topic.on_confirmed() {
            tracing::info!(
                event = "drain.topic_recovered",
                kafka.topic = &*topic.name,
                "topic accepts records again"
            );
        }
        self.attempts.remove(&lsn);
    }

    /// Handles a record that a producer returned without delivering it.
    pub(super) fn on_returned(&mut self, lsn: Lsn, flight: &InFlightRecord) {
        self.attempts.insert(lsn, flight.attempts);
        self.topics.get(flight.topic_partition.topic).abandon_trial(lsn);
    }

    /// Counts a delivered record, and ends its isolation.
    pub(super) fn on_delivered(&mut self, place: TopicPartition, lsn: Lsn) {
        self.topics.get(place.topic).sent.inc();
        self.on_settled(place, lsn);
    }

    /// A record of this partition is delivered or dead-lettered.
    fn on_settled(&mut self, place: TopicPartition, lsn: Lsn) {
        let Some(cap) = self.isolation.on_settled(place, lsn) else { return };
        let topic = self.topics.get(place.topic);
        topic.constraints.reduce_batch_limit(cap);
        tracing::warn!(
            event = "drain.batches_reduced",
            kafka.topic = &*topic.name,
            drain.batch_bytes = topic.constraints.max_batch_bytes,
            "topic accepts only small batches"
        );
    }

    /// Handles all records that failed at the same time. Topics at fault are parked, poison records become dead
    /// letters, and the others of a rejected batch become suspects. Returns the records to send again.
    pub(super) fn handle_failures(
        &mut self,
        mut returned: Vec<FailedRecord>,
        now: Instant,
    ) -> Vec<FailedRecord> {
        let mut refused: HashMap<TopicPartition, Vec<FailedRecord>> = HashMap::new();
        returned.retain(|record| match record.fault {
            DeliveryFault::Record(reason) if record.was_alone => !self.dead_letter_refused(*record, reason),
            DeliveryFault::Record(_) => {
                refused.entry(record.topic_partition).or_default().push(*record);
                true
            }
            fault => {
                self.mark_topic_fault(record.topic_partition.topic, fault, now);
                true
            }
        });
        for (place, records) in refused {
            self.isolate_batch(place, &records);
        }
        returned
    }

    /// Marks a topic as at fault, or requests its metadata again if it is stale. Other faults change nothing here.
    pub(super) fn mark_topic_fault(&mut self, topic: usize, fault: DeliveryFault, now: Instant) {
        if let DeliveryFault::Topic(reason) = fault {
            self.log_fault(topic, reason);
        }
        let topic = self.topics.get(topic);
        match fault {
            DeliveryFault::Topic(reason) => {
                topic.on_refused(reason, true, now, self.grace);
                topic.constraints.start_probation();
            }
            DeliveryFault::StaleMetadata => topic.invalidate_metadata(now),
            DeliveryFault::Record(_) | DeliveryFault::Producer | DeliveryFault::Transient => {}
        }
    }

    /// Logs a fault once per reason, because the metadata is fetched repeatedly.
    fn log_fault(&mut self, topic: usize, reason: &'static str) {
        let topic = self.topics.get(topic);
        if topic.refusal() != Some(reason) {
            let name = &*topic.name;
            tracing::warn!(
                event = "drain.topic_refused",
                kafka.topic = name,
                drain.reason = reason,
                "topic rejected; its records are parked"
            );
        }
    }

    /// Marks the records of a rejected batch as suspects, because any of them may be the cause. They are sent one at a
    /// time.
    fn isolate_batch(&mut self, place: TopicPartition, records: &[FailedRecord]) {
        let Some(&FailedRecord { lsn, fault, .. }) = records.first() else { return };
        let last = records.iter().map(|record| record.lsn).max().unwrap_or(lsn);
        let bytes = records.iter().map(|record| record.bytes).sum();
        self.isolation.add_suspects(place, last, bytes, fault);
        self.topics.get(place.topic).constraints.start_probation();
        tracing::warn!(
            event = "drain.batch_refused",
            kafka.topic = &**self.topics.name(place.topic),
            kafka.partition = place.partition,
            drain.records = records.len(),
            "batch rejected; its records are sent one at a time"
        );
    }

    /// A record was rejected alone. Returns whether it is a dead letter. If not, it will be sent, and rejected,
    /// again.
    fn dead_letter_refused(&mut self, poison: FailedRecord, reason: &'static str) -> bool {
        let FailedRecord { lsn, topic_partition: place, bytes, has_key, .. } = poison;
        let record = match self.log.read(lsn) {
            Ok(Some(record)) => record,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(
                    event = "drain.refused_record_unreadable",
                    %error,
                    wal.lsn = lsn.0,
                    "rejected record could not be read"
                );
                return false;
            }
        };
        let attempts = self.attempts.remove(&lsn).unwrap_or(1);
        self.dead_letters.add(record, reason, None, attempts);
        self.topics.get(place.topic).on_record_refused(reason, bytes, has_key);
        self.isolation.mark_poison_found(place);
        self.on_settled(place, lsn);
        true
    }

    /// Dead-letters a record that is not a valid envelope.
    pub(super) fn dead_letter_undecodable(&mut self, frame: RecordRef<'_>, error: &EnvelopeError) {
        self.dead_letters.add(owned(frame), "envelope", Some(error.to_string()), 0);
    }

    /// Dead-letters a record whose topic is past its grace time, or whose value cannot be resolved.
    pub(super) fn dead_letter(&mut self, frame: RecordRef<'_>, reason: &'static str) {
        let attempts = self.attempts.remove(&frame.lsn).unwrap_or(0);
        self.dead_letters.add(owned(frame), reason, None, attempts);
    }

    /// Handles a record that the producer did not accept at this attempt. No part of it is in flight.
    pub(super) fn on_send_error(
        &mut self,
        frame: RecordRef<'_>,
        place: TopicPartition,
        code: ErrorCode,
        attempts: u32,
        now: Instant,
    ) -> SendErrorAction {
        match classify(code) {
            DeliveryFault::Record(reason) => {
                self.attempts.remove(&frame.lsn);
                self.isolation.mark_poison_found(place);
                self.on_settled(place, frame.lsn);
                self.dead_letters.add(owned(frame), reason, None, attempts);
                SendErrorAction::DeadLetter
            }
            fault @ (DeliveryFault::Topic(_) | DeliveryFault::StaleMetadata) => {
                self.mark_topic_fault(place.topic, fault, now);
                SendErrorAction::ParkTopic
            }
            DeliveryFault::Producer | DeliveryFault::Transient => SendErrorAction::Wait,
        }
    }
}
