//! Markers of refused commands that could not be removed, or not be decided about: tried again when the store and the log
//! answer. They would expire by themselves, but hold a name or an address until then.

use std::collections::VecDeque;

use prometheus::IntCounter;

use crate::sync::Mutex;

/// More than a busy daemon refuses while its store is away for some seconds; about 2 MiB. The oldest go first.
const MAX_WAITING: usize = 10_000;

/// The markers, in the order they were left.
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

    /// Takes up to `most` of them.
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
    fn the_oldest_are_forgotten_and_counted_when_there_are_too_many() {
        let counter = IntCounter::new("hit", "hit").unwrap();
        let left = CleanupQueue::new(counter.clone());
        left.add(0..MAX_WAITING + 2);
        assert_eq!(counter.get(), 2);
        let taken = left.take(MAX_WAITING + 2);
        assert_eq!((taken.len(), taken[0]), (MAX_WAITING, 2));
        assert!(left.take(1).is_empty());
    }
}
