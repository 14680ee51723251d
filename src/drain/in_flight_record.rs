//! A record in flight to Kafka.

use crate::drain::scope::TopicPartition;
use crate::units::Timestamp;
use crate::wal::RecordRef;

/// How a record is sent.
#[derive(Clone, Copy)]
pub(super) struct SendMode {
    /// Whether it is sent as a single record.
    pub(super) solo: bool,
    /// Whether it is a single record that is sent in parallel with others of its partition.
    pub(super) unordered: bool,
}

/// A record handed to a producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlightRecord {
    pub(super) topic_partition: TopicPartition,
    pub(super) bytes: u64,
    /// Bytes that the record takes in the log.
    pub(super) log_bytes: u32,
    /// When the record was accepted.
    pub(super) accepted_at: Timestamp,
    /// Number of this attempt to send it.
    pub(super) attempts: u32,
    /// Whether it has a key, which requires an order.
    pub(super) has_key: bool,
    /// Whether it was sent through the producer for single records.
    pub(super) solo: bool,
    /// Whether it was sent there in parallel with others of its partition, because it has no key.
    pub(super) unordered: bool,
}

impl InFlightRecord {
    /// Creates it for a record that was just sent.
    pub(super) fn new(
        place: TopicPartition,
        way: SendMode,
        bytes: u64,
        frame: RecordRef<'_>,
        has_key: bool,
        attempts: u32,
    ) -> Self {
        let (SendMode { solo, unordered: loose }, RecordRef { at, bytes: log_bytes, .. }) = (way, frame);
        Self {
            topic_partition: place,
            bytes,
            log_bytes,
            accepted_at: at,
            attempts,
            has_key,
            solo,
            unordered: loose,
        }
    }
}
