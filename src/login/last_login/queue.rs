//! The login times that wait: one an account, the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::units::Timestamp;

/// A bounded queue. Whoever came first is written first, however often the time changed meanwhile.
pub(super) struct LastLoginQueue {
    times: HashMap<Arc<str>, Timestamp>,
    /// The names in `times`, each once.
    order: VecDeque<Arc<str>>,
    max: usize,
}

impl LastLoginQueue {
    /// For at most `max` accounts.
    pub(super) fn new(most: usize) -> Self {
        Self { times: HashMap::new(), order: VecDeque::new(), max: most }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Says whether there was room, or the account was there already.
    pub(super) fn put(&mut self, name: &str, at: Timestamp) -> bool {
        self.put_with(name, at, VecDeque::push_back)
    }

    /// Up to `count` of them, out of the queue.
    pub(super) fn take(&mut self, count: usize) -> Vec<(String, Timestamp)> {
        let names = self.order.drain(..count.min(self.order.len()));
        names.filter_map(|name| self.times.remove(&name).map(|at| (name.to_string(), at))).collect()
    }

    /// What was taken and not written, to where it came from. Says how many there was no room for any more.
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
    fn the_newest_time_of_an_account_waits_in_its_first_place() {
        let mut queue = LastLoginQueue::new(2);
        for (name, at, room) in [("ada", 5, true), ("bob", 1, true), ("ada", 9, true), ("ada", 7, true)] {
            assert_eq!(queue.put(name, Timestamp(at)), room);
        }
        assert!(!queue.put("cid", Timestamp(1)), "two accounts are all there is room for");
        assert_eq!(queue.take(1), [login("ada", 9)]);
        assert!(queue.put("cid", Timestamp(2)));
        assert_eq!(queue.take(9), [login("bob", 1), login("cid", 2)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_comes_back_is_first_again_and_older_than_what_came_meanwhile() {
        let mut queue = LastLoginQueue::new(3);
        for name in ["ada", "bob", "cid"] {
            queue.put(name, Timestamp(1));
        }
        let taken = queue.take(3);
        queue.put("bob", Timestamp(8));
        queue.put("dan", Timestamp(8));
        assert_eq!(queue.put_back(taken), 1, "room was taken");
        assert_eq!(queue.take(9), [login("cid", 1), login("bob", 8), login("dan", 8)]);
    }
}
