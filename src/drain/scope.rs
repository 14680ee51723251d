//! Destination partitions of records, and the scopes in which records are parked.

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TopicPartition {
    /// Number of the topic within its worker.
    pub(super) topic: usize,
    pub(super) partition: i32,
}

impl TopicPartition {
    pub(super) fn new(topic: usize, partition: i32) -> Self {
        Self { topic, partition }
    }
}

/// Why records with a deferred value are parked.
pub(super) const DEFERRED_REASON: &str = "a password waits to be hashed";

/// The scope in which records are parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Partition(TopicPartition),
    /// A topic with all its partitions.
    Topic(usize),
    /// Records of this topic whose value is deferred.
    Deferred(usize),
}

impl Scope {
    /// Why the records are parked, for people.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Partition(_) => "a partition confirms no records",
            Self::Topic(_) => "the topic accepts no records",
            Self::Deferred(_) => DEFERRED_REASON,
        }
    }

    /// Number of the topic.
    pub(super) fn topic(self) -> usize {
        match self {
            Self::Partition(place) => place.topic,
            Self::Topic(topic) | Self::Deferred(topic) => topic,
        }
    }
}

impl From<TopicPartition> for Scope {
    fn from(place: TopicPartition) -> Self {
        Self::Partition(place)
    }
}
