//! The end of the flushed records, and the readers that wait for it to move.
use std::time::{Duration, Instant};

use crate::failpoint::Failpoint;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::units::Lsn;

/// The first number that is not flushed yet.
pub struct DurableEnd {
    lsn: AtomicU64,
    readers: Mutex<Readers>,
    wake: Condvar,
}

/// The readers that wait for new records.
#[derive(Default)]
struct Readers {
    /// The lowest number that one of them waits for; `None` if none waits.
    lowest_awaited: Option<Lsn>,
    /// Calls of `DurableEnd::wake_all`.
    interrupts: u64,
}

impl DurableEnd {
    /// The end of a log after recovery.
    pub fn new(lsn: Lsn) -> Self {
        Self { lsn: AtomicU64::new(lsn.0), readers: Mutex::default(), wake: Condvar::new() }
    }

    /// The current end.
    pub fn get(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }

    /// Sets the end. Does not wake readers.
    pub fn set(&self, lsn: Lsn) {
        self.lsn.store(lsn.0, Ordering::Release);
    }

    /// See [`super::Log::wait_for_or_interrupt`].
    pub fn wait(&self, lsn: Lsn, timeout: Duration, interrupted: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut readers = self.readers();
        let before = readers.interrupts;
        while self.get() <= lsn && readers.interrupts == before && !interrupted() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            readers.lowest_awaited = Some(readers.lowest_awaited.map_or(lsn, |lowest| lowest.min(lsn)));
            readers = self.wake.wait_timeout(readers, left);
        }
        self.get() > lsn
    }

    /// See [`super::Log::wake_ready_readers`].
    pub fn wake_satisfied(&self) {
        if Failpoint::WakeWithoutLock.is_set() {
            return self.wake.notify_all();
        }
        let mut readers = self.readers();
        if readers.lowest_awaited.is_some_and(|lowest| self.get() > lowest) {
            // Readers that must go on waiting enter their number again.
            readers.lowest_awaited = None;
            drop(readers);
            self.wake.notify_all();
        }
    }

    /// Ends every wait.
    pub fn wake_all(&self) {
        let mut readers = self.readers();
        readers.interrupts += 1;
        readers.lowest_awaited = None;
        drop(readers);
        self.wake.notify_all();
    }

    /// Whether a reader waits for this record.
    #[cfg(feature = "testing")]
    pub fn is_awaited(&self, lsn: Lsn) -> bool {
        self.readers().lowest_awaited == Some(lsn)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock()
    }
}
