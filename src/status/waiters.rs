//! Tasks that wait for the delivery of a record or the outcome of a command. Bounded by the number of connections.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::sync::Mutex;

pub(super) struct Waiters<K> {
    waiting: Mutex<HashMap<K, Arc<Notify>>>,
    /// Lets the drain skip the lock while no task waits.
    count: AtomicUsize,
}

/// A registered waiter. Dropping it ends the wait.
pub(super) struct Waiter<K: Copy + Eq + Hash> {
    waiters: Arc<Waiters<K>>,
    key: K,
    notify: Arc<Notify>,
}

impl<K> Default for Waiters<K> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), count: AtomicUsize::new(0) }
    }
}

impl<K: Copy + Eq + Hash> Waiters<K> {
    pub fn register(self: &Arc<Self>, key: K) -> Waiter<K> {
        let mut waiting = self.waiting.lock();
        let notify = Arc::clone(waiting.entry(key).or_default());
        self.count.store(waiting.len(), Ordering::SeqCst);
        Waiter { waiters: Arc::clone(self), key, notify }
    }

    /// Keys that tasks wait for.
    pub fn keys(&self) -> Vec<K> {
        let waiting = self.waiting.lock();
        waiting.keys().copied().collect()
    }

    pub fn wake(&self, keys: &[K]) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        for key in keys {
            if let Some(notify) = waiting.remove(key) {
                notify.notify_waiters();
            }
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }
}

impl<K: Copy + Eq + Hash> Waiter<K> {
    /// Receives every `wake` after it is enabled.
    pub fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl<K: Copy + Eq + Hash> Drop for Waiter<K> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting.lock();
        // Two of the three owners are the map and this waiter, so no other task waits.
        if waiting
            .get(&self.key)
            .is_some_and(|held| Arc::ptr_eq(held, &self.notify) && Arc::strong_count(held) == 2)
        {
            waiting.remove(&self.key);
            self.waiters.count.store(waiting.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Lsn;

    /// A single stored permit used to wake only one waiter; the other waited until its deadline.
    #[tokio::test]
    async fn waiters_of_a_record_are_woken_even_before_they_sleep() {
        let waiters = Arc::<Waiters<Lsn>>::default();
        let (one, other) = (waiters.register(Lsn(7)), waiters.register(Lsn(7)));
        {
            let mut first = std::pin::pin!(one.notified());
            let mut second = std::pin::pin!(other.notified());
            assert!(!first.as_mut().enable() && !second.as_mut().enable());
            waiters.wake(&[Lsn(6), Lsn(7)]);
            first.await;
            second.await;
        }
        drop((one, other));
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }
}
