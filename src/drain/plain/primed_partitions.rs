//! Which partitions know the producer.
//!
//! An idempotent producer has several requests on their way to a partition. When the first is refused (too few replicas,
//! say) and the second is not, librdkafka takes the records of the first for persisted, because a broker refuses a gap in
//! the sequence (`rd_kafka_dr_implicit_ack`). It does so only where it knows the producer: from one that the partition has
//! no record of, any sequence number will do (Kafka's `ProducerAppendInfo.checkSequence`). So the first record goes alone,
//! and others follow when it has arrived.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::drain::scope::TopicPartition;

/// A broker forgets a producer after a day without a record (`producer.id.expiration.ms`); some are set to less.
const PRIMED_FOR: Duration = Duration::from_secs(600);

/// The partitions that confirmed a record of the present producer, and when they last did.
#[derive(Debug, Default)]
pub(super) struct PrimedPartitions {
    confirmed: HashMap<TopicPartition, Instant>,
}

impl PrimedPartitions {
    /// Whether more than one record may be on the way to this partition.
    pub(super) fn is_primed(&self, place: TopicPartition, now: Instant) -> bool {
        self.confirmed.get(&place).is_some_and(|at| now.saturating_duration_since(*at) < PRIMED_FOR)
    }

    /// The partition confirmed a record.
    pub(super) fn on_confirmed(&mut self, place: TopicPartition, now: Instant) {
        self.confirmed.insert(place, now);
    }

    /// Another producer follows.
    pub(super) fn clear(&mut self) {
        self.confirmed.clear();
    }

    /// The topic may be another one of the same name by now.
    pub(super) fn forget_topic(&mut self, topic: usize) {
        self.confirmed.retain(|place, _| place.topic != topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_knows_a_producer_from_a_confirmation_until_it_was_long_silent_or_another_follows() {
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
