//! Finds the poison record of a rejected batch.
//!
//! Kafka rejects a whole batch, and librdkafka fails every record in it. The records of such a batch become suspects.
//! They are sent again one at a time, so that the poison record is rejected alone. If none is, the batch was too
//! large as a whole, and the topic gets smaller ones.

use std::collections::HashMap;

use crate::drain::scope::TopicPartition;
use crate::kafka::DeliveryFault;
use crate::wal::Lsn;

/// The suspects of all partitions of one worker.
#[derive(Debug, Default)]
pub(super) struct PoisonIsolation {
    batches: HashMap<TopicPartition, SuspectBatch>,
}

#[derive(Debug)]
struct SuspectBatch {
    last_suspect: Lsn,
    bytes: u64,
    too_large: bool,
    found_poison: bool,
}

impl PoisonIsolation {
    /// A batch of more than one record was rejected. Takes its last record, its bytes, and the reason.
    pub(super) fn add_suspects(
        &mut self,
        place: TopicPartition,
        last: Lsn,
        bytes: u64,
        fault: DeliveryFault,
    ) {
        let too_large = fault == DeliveryFault::Record(crate::kafka::TOO_LARGE);
        let batch = self.batches.entry(place).or_insert(SuspectBatch {
            last_suspect: last,
            bytes,
            too_large,
            found_poison: false,
        });
        batch.last_suspect = batch.last_suspect.max(last);
        batch.bytes = batch.bytes.min(bytes);
    }

    /// Whether records of this partition are sent one at a time up to this record.
    pub(super) fn must_send_alone(&self, place: TopicPartition, lsn: Lsn) -> bool {
        self.batches.get(&place).is_some_and(|batch| lsn <= batch.last_suspect)
    }

    /// A suspect was rejected alone.
    pub(super) fn mark_poison_found(&mut self, place: TopicPartition) {
        if let Some(batch) = self.batches.get_mut(&place) {
            batch.found_poison = true;
        }
    }

    /// This record is confirmed or dead-lettered. After the last suspect, if none was poison and the reason was the
    /// size, returns the largest batch to try next, in bytes.
    pub(super) fn on_settled(&mut self, place: TopicPartition, lsn: Lsn) -> Option<u64> {
        if self.batches.get(&place)?.last_suspect > lsn {
            return None;
        }
        let batch = self.batches.remove(&place)?;
        (batch.too_large && !batch.found_poison).then_some((batch.bytes / 2).max(1))
    }

    /// Whether a batch of this partition was too large. Its records are sent in order, to find the one that is.
    pub(super) fn was_batch_too_large(&self, place: TopicPartition) -> bool {
        self.batches.get(&place).is_some_and(|batch| batch.too_large)
    }

    /// Whether there are no suspects.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::TOO_LARGE;

    const P: TopicPartition = TopicPartition { topic: 0, partition: 0 };

    #[test]
    fn suspects_are_sent_one_at_a_time_until_all_settle() {
        let mut suspects = PoisonIsolation::default();
        suspects.add_suspects(P, Lsn(9), 1000, DeliveryFault::Record(TOO_LARGE));
        assert!(suspects.must_send_alone(P, Lsn(9)) && !suspects.must_send_alone(P, Lsn(10)));
        assert_eq!(suspects.on_settled(P, Lsn(5)), None);
        suspects.mark_poison_found(P);
        assert_eq!(suspects.on_settled(P, Lsn(9)), None, "the poison record was too large, not the batch");
        assert!(suspects.is_empty());
    }

    #[test]
    fn a_batch_without_a_poison_record_was_too_large() {
        let mut suspects = PoisonIsolation::default();
        suspects.add_suspects(P, Lsn(9), 1000, DeliveryFault::Record(TOO_LARGE));
        assert_eq!(suspects.on_settled(P, Lsn(9)), Some(500));
        suspects.add_suspects(P, Lsn(9), 1000, DeliveryFault::Record("record: invalid"));
        assert_eq!(suspects.on_settled(P, Lsn(9)), None);
    }
}
