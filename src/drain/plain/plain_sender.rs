//! Sends with two producers, one for batches and one for single records, and parks partitions, topics and keys.

use std::collections::HashSet;
use std::time::Instant;

use super::parked_keys;
use super::parked_keys::ParkedKeys;
use super::parked_partitions::ParkedPartitions;
use super::primed_partitions::PrimedPartitions;
use super::reconnecting_producer::ReconnectingProducer;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::failure_policy::FailurePolicy;
use crate::drain::in_flight_record::{InFlightRecord, SendMode};
use crate::drain::lane_reader::{Disposition, ReadSide};
use crate::drain::monitor::ParkedTopic;
use crate::drain::scope::{DEFERRED_REASON, Scope, TopicPartition};
use crate::drain::sender::{Candidate, Sender};
use crate::failpoint::Failpoint;
use crate::kafka::{DeliveryFault, DeliveryReport, ErrorCode, Producer, TopicMetadata, classify};
use crate::wal::Lsn;

pub(super) struct PlainSender {
    /// Sends batches.
    pub(super) main: ReconnectingProducer,
    /// Sends records that must be alone: suspects and trials. A rejection does not stop it, because no record can
    /// overtake.
    pub(super) solo: ReconnectingProducer,
    pub(super) parked: ParkedPartitions,
    /// Topics with their own topic reader.
    pub(super) topics_read_apart: HashSet<usize>,
    /// Keys that wait for a deferred value.
    pub(super) keys: ParkedKeys,
    /// Partitions primed for the main producer. Records of the solo producer are sent alone anyway.
    pub(super) primed: PrimedPartitions,
    /// Whether resolved values arrived for which no slot was opened yet.
    pub(super) has_new_values: bool,
}

impl PlainSender {
    pub(super) fn new(main: ReconnectingProducer, solo: ReconnectingProducer) -> Self {
        Self {
            main,
            solo,
            parked: ParkedPartitions::default(),
            topics_read_apart: HashSet::new(),
            keys: ParkedKeys::default(),
            primed: PrimedPartitions::default(),
            has_new_values: false,
        }
    }

    /// Parked records by topic.
    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedTopic> {
        let keys = self.keys.waiting().map(|(topic, records)| (topic, records, DEFERRED_REASON));
        self.parked.parked().chain(keys)
    }

    /// No record of the topic is in flight.
    pub(super) fn on_in_flight_empty(&mut self, policy: &mut FailurePolicy, topic: usize) {
        if policy.topic(topic).must_await_in_flight() {
            policy.topic(topic).on_in_flight_empty();
            self.primed.forget_topic(topic);
        }
    }

    /// A partition confirmed a record.
    pub(super) fn on_confirmed(&mut self, flight: &InFlightRecord, now: Instant) {
        // Permissions belong to the Kafka user, not to a producer.
        self.main.clear_denial();
        self.solo.clear_denial();
        if flight.solo {
            self.solo.record_success();
        } else {
            self.main.record_success();
            self.primed.on_confirmed(flight.topic_partition, now);
        }
    }

    fn hold(&mut self, scope: impl Into<Scope>, lsn: Lsn) -> Disposition {
        self.parked.hold(scope, lsn);
        Disposition::Processed
    }

    /// The record waits without blocking other topics. Its topic gets its own reader, which begins at this record or
    /// at the first parked one.
    fn wait_in_topic_reader(&mut self, record: &Candidate<'_>) -> Disposition {
        if matches!(record.side, ReadSide::Topic(_)) {
            return Disposition::Wait;
        }
        self.parked.merge_topic(record.topic);
        self.topics_read_apart.insert(record.topic);
        self.hold(Scope::Topic(record.topic), record.lsn())
    }

    /// The in-flight limit is reached, or a record in flight must not be overtaken.
    fn wait_for_partition(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: TopicPartition,
        way: SendMode,
    ) -> Disposition {
        let in_flight = &mut state.in_flight;
        if in_flight.has_stalled(place, record.now) {
            in_flight.park(place);
            return self.hold(place, record.lsn());
        }
        if way.solo || state.policy.topic(place.topic).constraints.is_slow() {
            return self.wait_in_topic_reader(record);
        }
        // A slow partition must not block the others. The catch-up reader may exist for this partition alone.
        let holds_up = record.side == ReadSide::Main || self.parked.any_other_open(place);
        if holds_up && in_flight.on_blocked(place, record.now) {
            return self.hold(place, record.lsn());
        }
        Disposition::Wait
    }

    /// Whether records in flight to the partition must be confirmed before this record is sent.
    fn is_busy(&self, state: &DispatchState, place: TopicPartition, way: SendMode, now: Instant) -> bool {
        match way {
            SendMode { unordered: true, .. } => false,
            SendMode { solo: false, .. } if self.primed.is_primed(place, now) => {
                state.in_flight.has_solo_record(place)
            }
            _ => state.in_flight.is_busy(place),
        }
    }
}

impl Sender for PlainSender {
    fn producer(&self, solo: bool) -> Option<&Producer> {
        let outlet = if solo { &self.solo } else { &self.main };
        outlet.producer()
    }

    fn has_parked_topic(&self, topic: usize) -> bool {
        self.parked.waiting().any(|(held, records)| held == topic && records > 0)
    }

    fn is_closed(&self, place: TopicPartition) -> bool {
        self.parked.is_closed(place)
    }

    fn on_metadata(&mut self, policy: &mut FailurePolicy, topic: usize, _: TopicMetadata) {
        if policy.topic(topic).must_await_in_flight() {
            self.parked.merge_topic(topic);
        }
    }

    fn is_read_elsewhere(&self, side: ReadSide, topic: usize) -> bool {
        match side {
            ReadSide::Main => false,
            ReadSide::CatchUp => self.topics_read_apart.contains(&topic),
            ReadSide::Topic(own) => own != topic,
        }
    }

    fn is_topic_blocked(&mut self, state: &mut DispatchState, record: &Candidate<'_>) -> bool {
        let whole = Scope::Topic(record.topic);
        if self.parked.blocks(whole, record.side, record.lsn()) {
            return true;
        }
        // The partition of its key may differ from that of records in flight.
        let is_unsettled = state.policy.topic(record.topic).must_await_in_flight();
        if is_unsettled && state.in_flight.is_topic_busy(record.topic) {
            self.parked.hold(whole, record.lsn());
            return true;
        }
        self.on_in_flight_empty(&mut state.policy, record.topic);
        false
    }

    fn wait_for_topic(&mut self, record: &Candidate<'_>) -> Disposition {
        self.hold(Scope::Topic(record.topic), record.lsn())
    }

    fn is_partition_blocked(&mut self, record: &Candidate<'_>, place: TopicPartition) -> bool {
        self.parked.blocks(place, record.side, record.lsn())
    }

    fn is_key_blocked(&mut self, record: &Candidate<'_>) -> bool {
        if !record.envelope.sealed && self.keys.is_empty() {
            return false;
        }
        let slot = parked_keys::slot_of(record);
        if self.keys.blocks(slot, record.side, record.lsn()) {
            return true;
        }
        // Older records wait until their value may be requested.
        let must_queue =
            record.envelope.sealed && record.side == ReadSide::Main && self.keys.has_unrequested();
        if must_queue {
            self.keys.hold(slot, record.lsn(), false);
        }
        must_queue
    }

    fn admit(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: TopicPartition,
        alone: bool,
    ) -> Result<SendMode, Disposition> {
        let (bytes, has_key) = (record.bytes(), record.has_key());
        let caution = &state.policy.topic(place.topic).constraints;
        let (cap, goes_singly) = (caution.max_batch_bytes, caution.must_send_alone(bytes, has_key));
        let goes_singly = goes_singly || state.policy.is_suspect(place, record.lsn());
        let loose = goes_singly && !has_key && !alone && !state.policy.was_batch_too_large(place);
        let way = SendMode { solo: alone || goes_singly, unordered: loose };
        if self.is_busy(state, place, way, record.now) || !state.in_flight.has_room_at(place, bytes, cap) {
            return Err(self.wait_for_partition(state, record, place, way));
        }
        if way.solo && self.solo.ensure_ready(record.now).is_none() {
            return Err(self.wait_in_topic_reader(record));
        }
        if !state.in_flight.has_room(bytes) {
            state.context.metrics.window_hit.inc();
            return Err(Disposition::Wait);
        }
        Ok(way)
    }

    fn park(&mut self, state: &DispatchState, record: &Candidate<'_>, scope: Scope) -> Disposition {
        if matches!(scope, Scope::Deferred(_)) {
            let was_requested = state.values.is_requested(record.lsn());
            self.keys.hold(parked_keys::slot_of(record), record.lsn(), was_requested);
            return Disposition::Processed;
        }
        self.hold(scope, record.lsn())
    }

    fn on_sent(&mut self, state: &mut DispatchState, record: &Candidate<'_>, flight: &InFlightRecord) {
        self.on_passed(record, flight.topic_partition.into());
        if Failpoint::ConfirmUnsent.is_set() {
            let (tag, partition) = (record.lsn().0, flight.topic_partition.partition);
            state.results.push(DeliveryReport { tag, partition, offset: 0, error: None });
        }
    }

    fn on_passed(&mut self, record: &Candidate<'_>, scope: Scope) {
        self.parked.on_passed(scope, record.lsn());
        if !self.keys.is_empty() {
            self.keys.on_passed(parked_keys::slot_of(record));
        }
    }

    fn is_producer_lost(&self, code: ErrorCode, solo: bool) -> bool {
        // The end of the solo producer is detected with its delivery reports.
        !solo && classify(code) == DeliveryFault::Producer
    }
}
