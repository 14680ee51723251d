//! Who waits for which record to reach a final state. Bounded by the number of connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::wal::Lsn;

type Waiting = HashMap<Lsn, Arc<Notify>>;

#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<Waiting>,
    /// Lets the drain pass without a lock while nobody waits.
    count: AtomicUsize,
}

/// One who waits. Dropping it ends the wait.
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    lsn: Lsn,
    notify: Arc<Notify>,
}

impl Waiters {
    pub fn register(self: &Arc<Self>, lsn: Lsn) -> Waiter {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = Arc::clone(waiting.entry(lsn).or_default());
        self.count.store(waiting.len(), Ordering::SeqCst);
        Waiter { waiters: Arc::clone(self), lsn, notify }
    }

    pub fn wake(&self, lsns: &[Lsn]) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for lsn in lsns {
            if let Some(notify) = waiting.remove(lsn) {
                notify.notify_waiters();
            }
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }
}

impl Waiter {
    /// Hears every `wake` from the moment it is enabled on.
    pub fn woken(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Two of the three owners are the map and this waiter: nobody else waits.
        if waiting
            .get(&self.lsn)
            .is_some_and(|held| Arc::ptr_eq(held, &self.notify) && Arc::strong_count(held) == 2)
        {
            waiting.remove(&self.lsn);
            self.waiters.count.store(waiting.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stored permit used to wake one of them; the other waited out its deadline.
    #[tokio::test]
    async fn all_who_wait_for_a_record_are_woken_also_before_they_sleep() {
        let waiters = Arc::<Waiters>::default();
        let (one, other) = (waiters.register(Lsn(7)), waiters.register(Lsn(7)));
        {
            let mut first = std::pin::pin!(one.woken());
            let mut second = std::pin::pin!(other.woken());
            assert!(!first.as_mut().enable() && !second.as_mut().enable());
            waiters.wake(&[Lsn(6), Lsn(7)]);
            first.await;
            second.await;
        }
        drop((one, other));
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }
}
