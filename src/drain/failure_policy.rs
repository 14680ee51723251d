//! What a worker knows of topics and of refused records, and what follows from a refusal. It is the same with and
//! without transactions.

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

/// Who is at fault, as far as one worker knows.
pub(super) struct FailurePolicy {
    log: Arc<Log>,
    grace: Duration,
    topics: KnownTopics,
    isolation: PoisonIsolation,
    dead_letters: DeadLetterBuffer,
    /// How often records in need of another try were sent. As many as the window can hold.
    attempts: HashMap<Lsn, u32>,
}

/// A record that came back from a producer.
#[derive(Clone, Copy)]
pub(super) struct FailedRecord {
    pub(super) lsn: Lsn,
    pub(super) topic_partition: TopicPartition,
    pub(super) bytes: u64,
    pub(super) has_key: bool,
    pub(super) fault: DeliveryFault,
    /// Whether no other record was in its batch: Kafka refuses batches whole.
    pub(super) was_alone: bool,
}

impl FailedRecord {
    /// A record that was in flight.
    pub(super) fn new(lsn: Lsn, flight: &InFlightRecord, code: ErrorCode, alone: bool) -> Self {
        let &InFlightRecord { topic_partition: place, bytes, has_key, .. } = flight;
        Self { lsn, topic_partition: place, bytes, has_key, fault: classify(code), was_alone: alone }
    }
}

/// What to do about a record that a producer did not take.
pub(super) enum SendErrorAction {
    /// Nothing: it is a dead letter.
    DeadLetter,
    /// Its topic waits.
    HoldTopic,
    /// It is not to blame, and neither is its topic.
    Wait,
}

impl FailurePolicy {
    /// `grace`: how long a topic may be at fault before its records are dead letters. `refresh`: how often to ask about
    /// one that is well.
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

    /// Topics that the brokers refuse, with the reason.
    pub(super) fn refused_topics(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.topics.refused()
    }

    /// Topics to ask about now.
    pub(super) fn due_topics(&self, now: Instant) -> Vec<usize> {
        self.topics.due(now)
    }

    /// Whether records of this topic may go, or die.
    pub(super) fn is_route_known(&self, topic: usize) -> bool {
        matches!(self.topics.route(topic), Route::Send { .. } | Route::DeadLetter(_))
    }

    /// Whether this record is a dead letter that is not stored yet.
    pub(super) fn is_dead(&self, lsn: Lsn) -> bool {
        self.dead_letters.contains(lsn)
    }

    /// Whether dead letters must be stored before another record is looked at.
    pub(super) fn must_store_dead_letters(&self) -> bool {
        self.dead_letters.is_full()
    }

    /// Whether there are dead letters that are not stored yet.
    pub(super) fn has_unstored_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Stores the dead letters there are.
    pub(super) fn store_dead_letters(&mut self, context: &Context, now: Instant) {
        self.dead_letters.store(context, now);
    }

    /// Stores them once they are many, or have waited for others.
    pub(super) fn store_gathered_dead_letters(&mut self, context: &Context, now: Instant) {
        self.dead_letters.store_if_due(context, now);
    }

    /// Whether a batch of this partition was refused that may have had this record in it: it goes alone.
    pub(super) fn is_suspect(&self, place: TopicPartition, lsn: Lsn) -> bool {
        self.isolation.must_send_alone(place, lsn)
    }

    /// Whether a batch of this partition was too large: its records go in their order, to find out which of them is.
    pub(super) fn was_batch_too_large(&self, place: TopicPartition) -> bool {
        self.isolation.was_batch_too_large(place)
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.isolation.is_empty()
    }

    /// How often a record will have been sent, the next time included.
    pub(super) fn next_attempt(&self, lsn: Lsn) -> u32 {
        self.attempts.get(&lsn).copied().unwrap_or(0) + 1
    }

    /// A record that arrived will be sent again all the same.
    pub(super) fn record_attempts(&mut self, lsn: Lsn, attempts: u32) {
        self.attempts.insert(lsn, attempts);
    }

    /// What the brokers answered about a topic.
    pub(super) fn on_metadata(&mut self, topic: usize, answer: TopicMetadata, now: Instant) {
        if let TopicMetadata::Refused(reason) = answer {
            self.log_fault(topic, reason);
        }
        self.topics.get(topic).on_metadata(answer, now, self.grace);
    }

    /// Kafka took a record: its topic is well.
    pub(super) fn on_acknowledged(&mut self, flight: &InFlightRecord, lsn: Lsn) {
        let topic = self.topics.get(flight.topic_partition.topic);
        topic.constraints.on_record_acknowledged(flight.has_key);
        if topic.on_acknowledged() {
            tracing::info!(
                event = "drain.topic_recovered",
                kafka.topic = &*topic.name,
                "topic accepts records again"
            );
        }
        self.attempts.remove(&lsn);
    }

    /// A record is no longer in flight and not delivered.
    pub(super) fn on_returned(&mut self, lsn: Lsn, flight: &InFlightRecord) {
        self.attempts.insert(lsn, flight.attempts);
        self.topics.get(flight.topic_partition.topic).abandon_trial(lsn);
    }

    /// A record of this partition is delivered.
    pub(super) fn on_delivered(&mut self, place: TopicPartition, lsn: Lsn) {
        self.topics.get(place.topic).sent.inc();
        self.on_settled(place, lsn);
    }

    /// A record of this partition is delivered or dead.
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

    /// All that came back at once: topics at fault wait, culprits become dead letters, the others of a refused batch
    /// are suspects. Says which records are to be sent again.
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

    /// A topic is at fault, or what is known of it is old. For other faults it cannot help.
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

    /// Once for each reason: the topic is asked about again and again.
    fn log_fault(&mut self, topic: usize, reason: &'static str) {
        let topic = self.topics.get(topic);
        if topic.refusal() != Some(reason) {
            let name = &*topic.name;
            tracing::warn!(
                event = "drain.topic_refused",
                kafka.topic = name,
                drain.reason = reason,
                "topic refused; its records wait"
            );
        }
    }

    /// A batch was refused with these records in it: any of them may be the reason.
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
            "batch refused; its records are sent one at a time"
        );
    }

    /// A record was refused alone. Says whether it is a dead letter; else it will be sent, and refused, again.
    fn dead_letter_refused(&mut self, culprit: FailedRecord, reason: &'static str) -> bool {
        let FailedRecord { lsn, topic_partition: place, bytes, has_key, .. } = culprit;
        let record = match self.log.read(lsn) {
            Ok(Some(record)) => record,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(
                    event = "drain.refused_record_unreadable",
                    %error,
                    wal.lsn = lsn.0,
                    "refused record could not be read"
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

    /// A record that is no envelope.
    pub(super) fn dead_letter_undecodable(&mut self, frame: RecordRef<'_>, error: &EnvelopeError) {
        self.dead_letters.add(owned(frame), "envelope", Some(error.to_string()), 0);
    }

    /// A record of a topic that was given up, or whose value nobody makes.
    pub(super) fn dead_letter(&mut self, frame: RecordRef<'_>, reason: &'static str) {
        let attempts = self.attempts.remove(&frame.lsn).unwrap_or(0);
        self.dead_letters.add(owned(frame), reason, None, attempts);
    }

    /// A producer did not take a record, at this attempt; nothing of it is in flight.
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
                SendErrorAction::HoldTopic
            }
            DeliveryFault::Producer | DeliveryFault::Transient => SendErrorAction::Wait,
        }
    }
}
