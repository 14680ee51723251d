//! A record on its way to Kafka.

use crate::drain::scope::TopicPartition;
use crate::units::Timestamp;
use crate::wal::RecordRef;

/// How a record goes.
#[derive(Clone, Copy)]
pub(super) struct SendMode {
    /// As a single record.
    pub(super) solo: bool,
    /// So, but beside others of its partition.
    pub(super) unordered: bool,
}

/// A record handed to a producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlightRecord {
    pub(super) topic_partition: TopicPartition,
    pub(super) bytes: u64,
    /// Bytes it takes in the log.
    pub(super) log_bytes: u32,
    /// When it was accepted.
    pub(super) accepted_at: Timestamp,
    /// How often it was sent, this time included.
    pub(super) attempts: u32,
    /// Whether its key gives it a place in an order.
    pub(super) has_key: bool,
    /// Whether it went through the producer for single records.
    pub(super) solo: bool,
    /// Whether it went there beside others of its partition, because it has no key.
    pub(super) unordered: bool,
}

impl InFlightRecord {
    /// A record that was just sent.
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
