//! Partitions in which the broker knows the current producer.
//!
//! An idempotent producer has several requests in flight to a partition. Suppose the broker rejects the first (for
//! example because of too few replicas) but not the second. librdkafka then assumes that the records of the first are
//! persisted, because a broker rejects a gap in the sequence (`rd_kafka_dr_implicit_ack`). The broker only does so
//! where it knows the producer. If the partition has no record of a producer, any sequence number is accepted
//! (Kafka's `ProducerAppendInfo.checkSequence`). So the first record is sent alone, and others follow when it is
//! confirmed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::drain::scope::TopicPartition;

/// How long a partition stays primed without a record. By default a broker forgets a producer after a day
/// (`producer.id.expiration.ms`); some are set to less.
const PRIMED_FOR: Duration = Duration::from_secs(600);

/// The partitions that confirmed a record of the current producer, and when they last did.
#[derive(Debug, Default)]
pub(super) struct PrimedPartitions {
    confirmed: HashMap<TopicPartition, Instant>,
}

impl PrimedPartitions {
    /// Whether more than one record may be in flight to this partition.
    pub(super) fn is_primed(&self, place: TopicPartition, now: Instant) -> bool {
        self.confirmed.get(&place).is_some_and(|at| now.saturating_duration_since(*at) < PRIMED_FOR)
    }

    /// The partition confirmed a record.
    pub(super) fn on_confirmed(&mut self, place: TopicPartition, now: Instant) {
        self.confirmed.insert(place, now);
    }

    /// A new producer replaces the current one.
    pub(super) fn clear(&mut self) {
        self.confirmed.clear();
    }

    /// The topic may have been replaced by another one with the same name.
    pub(super) fn forget_topic(&mut self, topic: usize) {
        self.confirmed.retain(|place, _| place.topic != topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stays_primed_until_it_expires_or_is_cleared() {
        let (mut primed, now) = (PrimedPartitions::default(), Instant::now());
        let (place, other) =
            (TopicPartition { topic: 0, partition: 1 }, TopicPartition { topic: 1, partition: 1 });
        assert!(!primed.is_primed(place, now));
        primed.on_confirmed(place, now);
        assert!(primed.is_primed(place, now) && !primed.is_primed(other, now));
        assert!(!primed.is_primed(place, now + PRIMED_FOR));
        primed.on_confirmed(other, now);
        primed.forget_topic(place.topic);
        assert!(!primed.is_primed(place, now) && primed.is_primed(other, now));
        primed.clear();
        assert!(!primed.is_primed(other, now));
    }
}
