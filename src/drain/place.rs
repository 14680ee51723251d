//! What records can be held for: a partition, a topic, or a value.

/// A partition of a topic, or the whole topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Number of the topic within its worker.
    pub(super) topic: usize,
    /// The partition, or [`WHOLE`].
    pub(super) partition: i32,
}

/// Stands for all partitions of a topic.
const WHOLE: i32 = -1;
/// Stands for no partition.
const SEALED: i32 = -2;

impl Place {
    pub(super) fn new(topic: usize, partition: i32) -> Self {
        Self { topic, partition }
    }

    /// The topic with all its partitions.
    pub(super) fn whole(topic: usize) -> Self {
        Self { topic, partition: WHOLE }
    }

    /// Stands for a value of this topic that is not made yet.
    pub(super) fn sealed(topic: usize) -> Self {
        Self { topic, partition: SEALED }
    }

    /// Whether it does.
    pub(super) fn is_sealed(self) -> bool {
        self.partition == SEALED
    }

    /// Whether it is one.
    pub(super) fn is_whole(self) -> bool {
        self.partition == WHOLE
    }
}
