//! Who waits for which record to reach a final state. Bounded by the number of connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

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
                // For one who registered and does not wait yet.
                notify.notify_one();
            }
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }
}

impl Waiter {
    pub async fn woken(&self) {
        self.notify.notified().await;
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
