//! The interface of the two ways to send a record: plain, and in transactions.

use std::time::Instant;

use crate::command::Envelope;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::failure_policy::FailurePolicy;
use crate::drain::in_flight_record::{InFlightRecord, SendMode};
use crate::drain::lane_reader::{Disposition, ReadSide};
use crate::drain::scope::{Scope, TopicPartition};
use crate::kafka::{ErrorCode, Producer, TopicMetadata};
use crate::wal::{Lsn, RecordRef};

/// Approximate bytes that librdkafka and Kafka's format add to a record. It bounds memory and need not be exact.
const OVERHEAD: u64 = 256;

/// A record to dispatch.
pub(super) struct Candidate<'a> {
    pub(super) side: ReadSide,
    pub(super) frame: RecordRef<'a>,
    pub(super) envelope: Envelope<'a>,
    /// Number of its topic within the worker.
    pub(super) topic: usize,
    pub(super) now: Instant,
}

impl Candidate<'_> {
    pub(super) fn lsn(&self) -> Lsn {
        self.frame.lsn
    }

    pub(super) fn has_key(&self) -> bool {
        self.envelope.key.is_some()
    }

    /// Bytes that the record takes in a producer.
    pub(super) fn bytes(&self) -> u64 {
        self.frame.payload.len() as u64 + OVERHEAD
    }
}

/// Sends records, and parks those that cannot be sent.
pub(super) trait Sender {
    /// The producer for batches, or the one for single records (`solo`).
    fn producer(&self, solo: bool) -> Option<&Producer>;

    /// Whether records of this topic are parked.
    fn has_parked_topic(&self, topic: usize) -> bool;

    /// Whether this partition accepts no records now.
    fn is_closed(&self, place: TopicPartition) -> bool;

    /// The brokers returned the metadata of a topic.
    fn on_metadata(&mut self, policy: &mut FailurePolicy, topic: usize, answer: TopicMetadata);

    /// Whether a record waits behind another record of its lane.
    fn is_lane_blocked(&mut self, _: &mut DispatchState, _: RecordRef<'_>) -> bool {
        false
    }

    /// Whether another reader of the worker reads this topic's records.
    fn is_read_elsewhere(&self, _side: ReadSide, _topic: usize) -> bool {
        false
    }

    /// Whether a record waits behind others of its topic.
    fn is_topic_blocked(&mut self, _: &mut DispatchState, _: &Candidate<'_>) -> bool {
        false
    }

    /// What to do with a record of a topic that accepts one at a time, while others of it are in flight.
    fn wait_for_topic(&mut self, record: &Candidate<'_>) -> Disposition;

    /// Whether a record waits behind others of its partition.
    fn is_partition_blocked(&mut self, record: &Candidate<'_>, place: TopicPartition) -> bool;

    /// Whether a record waits behind others of its key, or behind others whose value is deferred.
    fn is_key_blocked(&mut self, _: &Candidate<'_>) -> bool {
        false
    }

    /// Returns how the record is sent now, or what to do instead.
    fn admit(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: TopicPartition,
        alone: bool,
    ) -> Result<SendMode, Disposition>;

    /// Parks a record and the records behind it.
    fn park(&mut self, state: &DispatchState, record: &Candidate<'_>, scope: Scope) -> Disposition;

    /// A record was sent.
    fn on_sent(&mut self, state: &mut DispatchState, record: &Candidate<'_>, flight: &InFlightRecord);

    /// A record was sent or is a dead letter, so it no longer blocks other records.
    fn on_passed(&mut self, _record: &Candidate<'_>, _scope: Scope) {}

    /// Whether a producer that did not accept a record must be replaced. Neither the record nor its topic is at
    /// fault.
    fn is_producer_lost(&self, code: ErrorCode, solo: bool) -> bool;
}
