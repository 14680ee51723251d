//! The queue of login times: the newest per account.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::units::Timestamp;

/// A bounded queue. An account keeps its position when its time changes.
pub(super) struct LastLoginQueue {
    times: HashMap<Arc<str>, Timestamp>,
    /// The names in `times`, each once, oldest first.
    order: VecDeque<Arc<str>>,
    max: usize,
}

impl LastLoginQueue {
    /// A queue for at most `max` accounts.
    pub(super) fn new(most: usize) -> Self {
        Self { times: HashMap::new(), order: VecDeque::new(), max: most }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Adds a time. Returns `false` if the queue is full and does not contain the account.
    pub(super) fn put(&mut self, name: &str, at: Timestamp) -> bool {
        self.put_with(name, at, VecDeque::push_back)
    }

    /// Removes and returns up to `count` times.
    pub(super) fn take(&mut self, count: usize) -> Vec<(String, Timestamp)> {
        let names = self.order.drain(..count.min(self.order.len()));
        names.filter_map(|name| self.times.remove(&name).map(|at| (name.to_string(), at))).collect()
    }

    /// Returns unwritten times to the front of the queue. Returns how many did not fit.
    pub(super) fn put_back(&mut self, taken: Vec<(String, Timestamp)>) -> usize {
        let mut missed = 0;
        for (name, at) in taken.iter().rev() {
            if !self.put_with(name, *at, VecDeque::push_front) {
                missed += 1;
            }
        }
        missed
    }

    fn put_with(&mut self, name: &str, at: Timestamp, push: fn(&mut VecDeque<Arc<str>>, Arc<str>)) -> bool {
        if let Some(newest) = self.times.get_mut(name) {
            *newest = at.max(*newest);
            return true;
        }
        if self.order.len() >= self.max {
            return false;
        }
        let name: Arc<str> = name.into();
        self.times.insert(Arc::clone(&name), at);
        push(&mut self.order, name);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str, at: u64) -> (String, Timestamp) {
        (name.to_owned(), Timestamp(at))
    }

    #[test]
    fn an_account_keeps_its_queue_position() {
        let mut queue = LastLoginQueue::new(2);
        for (name, at, room) in [("ada", 5, true), ("bob", 1, true), ("ada", 9, true), ("ada", 7, true)] {
            assert_eq!(queue.put(name, Timestamp(at)), room);
        }
        assert!(!queue.put("cid", Timestamp(1)), "the queue holds two accounts");
        assert_eq!(queue.take(1), [login("ada", 9)]);
        assert!(queue.put("cid", Timestamp(2)));
        assert_eq!(queue.take(9), [login("bob", 1), login("cid", 2)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn unwritten_times_return_to_the_front_unless_newer_ones_exist() {
        let mut queue = LastLoginQueue::new(3);
        for name in ["ada", "bob", "cid"] {
            queue.put(name, Timestamp(1));
        }
        let taken = queue.take(3);
        queue.put("bob", Timestamp(8));
        queue.put("dan", Timestamp(8));
        assert_eq!(queue.put_back(taken), 1, "one entry must not fit");
        assert_eq!(queue.take(9), [login("cid", 1), login("bob", 8), login("dan", 8)]);
    }
}
