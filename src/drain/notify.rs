//! What a worker waits on: one event for new records, results and commands alike.

use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Nothing is in flight and nothing held back: only a notification matters, and the heartbeat.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(900);
/// Something may hang, or may be tried again.
pub(super) const ACTIVE_WAIT: Duration = Duration::from_millis(50);
/// Far below the time for which records are gathered before they are released (`drain::pacer`).
const GATHER_TIME: Duration = Duration::from_millis(1);

/// Many threads notify, one waits. A notification while nobody waits is kept.
#[derive(Default)]
pub(super) struct Notify {
    notified: Mutex<bool>,
    condvar: Condvar,
}

impl Notify {
    /// Wakes the one who waits, or who waits next.
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

    /// As [`Self::wait`], and a little longer: the results of a batch come one by one, and who waits for the last of
    /// many would wake for each.
    pub(super) fn wait_and_gather(&self, timeout: Duration) {
        self.wait(timeout);
        std::thread::sleep(GATHER_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let notify = Notify::default();
        notify.notify();
        // Hangs for an hour if it is.
        notify.wait(Duration::from_secs(3600));
    }
}
