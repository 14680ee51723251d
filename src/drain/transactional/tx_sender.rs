//! Sends into the open transaction, and holds the lanes of records that cannot be sent.

use std::time::Instant;

use super::checkpoint_message::{CheckpointMessage, TOPIC};
use super::held_lanes::HeldLanes;
use super::lane_positions::LanePositions;
use super::transaction::Transaction;
use super::tx_producer::TxProducer;
use crate::backoff::Backoff;
use crate::command::Envelope;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::dispatcher::METADATA_TIMEOUT;
use crate::drain::failure_policy::FailurePolicy;
use crate::drain::in_flight_record::{InFlightRecord, SendMode};
use crate::drain::lane_reader::Disposition;
use crate::drain::scope::{Scope, TopicPartition};
use crate::drain::sender::{Candidate, Sender};
use crate::drain::usage::Usage;
use crate::kafka::{ErrorCode, Producer, TopicMetadata};
use crate::wal::{Lsn, RecordRef};

pub(super) struct TxSender {
    pub(super) incarnation: [u8; 16],
    pub(super) producer: TxProducer,
    pub(super) held_lanes: HeldLanes,
    pub(super) transaction: Option<Transaction>,
    /// Maximum records and bytes of one transaction.
    limit: Usage,
    /// The positions committed in Kafka.
    pub(super) committed: LanePositions,
    pub(super) failures: Vec<(Lsn, ErrorCode)>,
    /// The error with which the transaction was rejected as a whole.
    pub(super) refused: Option<ErrorCode>,
    /// Number of following transactions that contain one topic each, to find the one at fault.
    pub(super) isolating_transactions: u32,
    /// Whether the transaction has reached its limit.
    pub(super) is_full: bool,
    /// The record from which the log must be read again.
    pub(super) reread: Option<Lsn>,
}

impl TxSender {
    /// Creates a sender. `limit` applies to one transaction. `backoff` gives the delays after which a stalled
    /// partition is tried again.
    pub(super) fn new(incarnation: [u8; 16], producer: TxProducer, limit: Usage, backoff: Backoff) -> Self {
        Self {
            incarnation,
            producer,
            held_lanes: HeldLanes::new(backoff),
            transaction: None,
            limit,
            committed: LanePositions::default(),
            failures: Vec::new(),
            refused: None,
            isolating_transactions: 0,
            is_full: false,
            reread: None,
        }
    }

    /// Opens a transaction that begins with this record. Returns whether that succeeded.
    fn begin(&mut self, first: Lsn, only: Option<usize>, now: Instant) -> bool {
        let Some(producer) = self.producer.producer() else { return false };
        if let Err(error) = producer.begin_transaction() {
            tracing::warn!(event = "drain.transaction_not_opened", %error, "transaction not opened");
            return false;
        }
        self.transaction = Some(Transaction::new(first, only, self.committed.clone(), now));
        true
    }

    /// Sends the positions. No record follows in this transaction. A transaction that tests a topic sends them last,
    /// so that an earlier failure must be that topic's fault.
    pub(super) fn send_positions(&mut self, state: &mut DispatchState) {
        let (Some(run), Some(producer)) = (&mut self.transaction, self.producer.producer()) else { return };
        if run.only_topic.is_some() && state.in_flight.len() > 0 {
            return;
        }
        let message =
            CheckpointMessage { incarnation: self.incarnation, lane_positions: run.positions.clone() };
        match producer.send_table_entry(TOPIC, self.producer.id.as_bytes(), Some(&message.encode())) {
            Ok(()) => run.is_closed = true,
            Err(error) => {
                tracing::warn!(
                    event = "drain.positions_not_sent",
                    %error,
                    "positions of a transaction not sent"
                );
                state.must_replace_producer = true;
            }
        }
    }
}

impl Sender for TxSender {
    fn producer(&self, _solo: bool) -> Option<&Producer> {
        self.producer.producer()
    }

    fn has_parked_topic(&self, topic: usize) -> bool {
        self.held_lanes.waiting().any(|(held, records)| held == topic && records > 0)
    }

    fn is_closed(&self, place: TopicPartition) -> bool {
        self.held_lanes.is_stalled(place)
    }

    /// A rejection costs a transaction, so the brokers' metadata is used to predict which records a topic will
    /// reject.
    fn on_metadata(&mut self, policy: &mut FailurePolicy, topic: usize, answer: TopicMetadata) {
        if policy.topic(topic).constraints.refuses_keyless
            && matches!(answer, TopicMetadata::Partitions(_))
            && let Some(producer) = self.producer.producer()
        {
            let is_compacted = producer.is_compacted(policy.topic_name(topic), METADATA_TIMEOUT);
            policy.topic(topic).constraints.is_compacted = is_compacted == Some(true);
        }
    }

    /// Requests the value of a record with a deferred value that waits behind another one of its lane, so that both
    /// are resolved together.
    fn is_lane_blocked(&mut self, state: &mut DispatchState, frame: RecordRef<'_>) -> bool {
        let stops = self.held_lanes.blocks(frame.lane, frame.lsn);
        if stops
            && self.held_lanes.is_deferred(frame.lane)
            && state.values.free_requests() > 0
            && let Ok(envelope) = Envelope::decode(frame.payload)
            && envelope.sealed
        {
            state.values.look_up(frame.lsn, &envelope);
        }
        stops
    }

    fn wait_for_topic(&mut self, _: &Candidate<'_>) -> Disposition {
        // The topic's records in flight are finished when this transaction ends.
        Disposition::Wait
    }

    fn is_partition_blocked(&mut self, record: &Candidate<'_>, place: TopicPartition) -> bool {
        let stops = self.held_lanes.is_stalled(place);
        if stops {
            self.held_lanes.hold(record.frame.lane, record.lsn(), place);
        }
        stops
    }

    fn admit(
        &mut self,
        state: &mut DispatchState,
        record: &Candidate<'_>,
        place: TopicPartition,
        alone: bool,
    ) -> Result<SendMode, Disposition> {
        let (bytes, in_flight) = (record.bytes(), &mut state.in_flight);
        let solo =
            alone || self.held_lanes.is_on_trial(place) || state.policy.is_suspect(place, record.lsn());
        let is_busy = if solo { in_flight.is_busy(place) } else { in_flight.has_solo_record(place) };
        let cap = state.policy.topic(place.topic).constraints.max_batch_bytes;
        let proving = alone || self.isolating_transactions > 0;
        let fits =
            |run: &Transaction| run.has_room(bytes, self.limit) && run.accepts_topic(place.topic, proving);
        let in_run = self.transaction.as_ref().is_none_or(fits);
        self.is_full |= !in_run;
        if is_busy || !in_run || !in_flight.has_room_at(place, bytes, cap) || !in_flight.has_room(bytes) {
            return Err(Disposition::Wait);
        }
        if self.transaction.is_none() && !self.begin(record.lsn(), proving.then_some(place.topic), record.now)
        {
            state.must_replace_producer = true;
            return Err(Disposition::Wait);
        }
        Ok(SendMode { solo, unordered: false })
    }

    fn park(&mut self, _: &DispatchState, record: &Candidate<'_>, scope: Scope) -> Disposition {
        self.held_lanes.hold(record.frame.lane, record.lsn(), scope);
        Disposition::Processed
    }

    fn on_sent(&mut self, _: &mut DispatchState, record: &Candidate<'_>, flight: &InFlightRecord) {
        if let Some(run) = &mut self.transaction {
            run.add(record.frame.lane, record.lsn(), flight.bytes);
        }
    }

    fn is_producer_lost(&self, code: ErrorCode, _solo: bool) -> bool {
        code != ErrorCode::QueueFull
    }
}
