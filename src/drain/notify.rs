//! Wake-ups of a worker: one event for new records, delivery reports and commands.

use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Wait when nothing is in flight or parked. Only a notification or the heartbeat matters then.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(900);
/// Wait when a partition may have stalled, or an attempt may be due.
pub(super) const ACTIVE_WAIT: Duration = Duration::from_millis(50);
/// Far below the time for which records are gathered before their release (`drain::release_pacer`).
const GATHER_TIME: Duration = Duration::from_millis(1);

/// Many threads notify, one waits. A notification without a waiting thread is kept.
#[derive(Default)]
pub(super) struct Notify {
    notified: Mutex<bool>,
    condvar: Condvar,
}

impl Notify {
    /// Wakes the waiting thread, or the next one that waits.
    pub(super) fn notify(&self) {
        let mut rung = self.notified.lock();
        if !*rung {
            *rung = true;
            self.condvar.notify_one();
        }
    }

    /// Blocks until notified, for at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let rung = self.notified.lock();
        let mut waited = self.condvar.wait_timeout_while(rung, timeout, |rung| !*rung);
        *waited = false;
    }

    /// Waits as [`Self::wait`] does, and a little longer. The delivery reports of a batch arrive one by one; without
    /// the delay, the worker would wake for each of them.
    pub(super) fn wait_and_gather(&self, timeout: Duration) {
        self.wait(timeout);
        std::thread::sleep(GATHER_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_wait_is_not_lost() {
        let notify = Notify::default();
        notify.notify();
        // A lost notification makes this wait last an hour.
        notify.wait(Duration::from_secs(3600));
    }
}
