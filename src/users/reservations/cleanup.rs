//! Retries the removal of rejected commands' reservations when the store and the log are available again. These
//! reservations would expire anyway, but block a name or an address until then.

use std::collections::VecDeque;

use prometheus::IntCounter;

use crate::sync::Mutex;

/// More than a busy daemon rejects while its store is unavailable for some seconds; about 2 MiB. The oldest are dropped
/// first.
const MAX_WAITING: usize = 10_000;

/// The queue of reservations, oldest first.
pub(in crate::users) struct CleanupQueue<T> {
    markers: Mutex<VecDeque<T>>,
    bound_hit: IntCounter,
}

impl<T> CleanupQueue<T> {
    pub fn new(bound_hit: IntCounter) -> Self {
        Self { markers: Mutex::default(), bound_hit }
    }

    pub fn add(&self, left: impl IntoIterator<Item = T>) {
        let mut markers = self.markers.lock();
        markers.extend(left);
        let excess = markers.len().saturating_sub(MAX_WAITING);
        markers.drain(..excess);
        self.bound_hit.inc_by(excess as u64);
    }

    /// Removes and returns up to `most` entries.
    pub fn take(&self, most: usize) -> Vec<T> {
        let mut markers = self.markers.lock();
        let count = markers.len().min(most);
        markers.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_the_oldest() {
        let counter = IntCounter::new("hit", "hit").unwrap();
        let left = CleanupQueue::new(counter.clone());
        left.add(0..MAX_WAITING + 2);
        assert_eq!(counter.get(), 2);
        let taken = left.take(MAX_WAITING + 2);
        assert_eq!((taken.len(), taken[0]), (MAX_WAITING, 2));
        assert!(left.take(1).is_empty());
    }
}
