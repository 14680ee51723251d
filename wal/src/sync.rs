//! Locks, condition variables and atomics of the standard library. With the feature `shuttle`, every call is a point
//! where another thread may be scheduled. No release has this feature: outside of a model its locks panic.
//!
//! Locking cannot fail. The standard library's lock returns an error after a thread panicked while it held the lock.
//! The owner of that thread notices the panic, and ends the process or the request (`task`). Threads that run until
//! then must not panic as well.

#[cfg(not(feature = "shuttle"))]
use std::sync as from;
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(feature = "shuttle")]
use shuttle::sync as from;

pub use from::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};

#[cfg(not(feature = "shuttle"))]
pub use std::sync::OnceLock;

#[cfg(feature = "shuttle")]
pub use once::OnceLock;

/// [`std::sync::Mutex`] with a `lock` that cannot fail.
#[derive(Debug, Default)]
pub struct Mutex<T>(from::Mutex<T>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(from::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`std::sync::RwLock`] with locks that cannot fail.
#[derive(Debug, Default)]
pub struct RwLock<T>(from::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> Self {
        Self(from::RwLock::new(value))
    }

    /// Waits for a read lock.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the write lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`std::sync::Condvar`] with waits that cannot fail.
#[derive(Debug, Default)]
pub struct Condvar(from::Condvar);

impl Condvar {
    /// A condition variable on which no thread waits.
    pub const fn new() -> Self {
        Self(from::Condvar::new())
    }

    /// Waits for a notification. May return without one, so the caller must check its condition again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`Self::wait`], for at most `timeout`.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits while `condition` holds.
    pub fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `condition` holds, for at most `timeout`. After a timeout the condition may still hold.
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes one of the waiting threads.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A `OnceLock` for models, because shuttle has none.
#[cfg(feature = "shuttle")]
mod once {
    use super::atomic::{AtomicBool, Ordering};

    /// The standard library's cell. Before each call, another thread may be scheduled.
    pub struct OnceLock<T>(std::sync::OnceLock<T>, AtomicBool);

    impl<T> OnceLock<T> {
        /// An empty cell.
        pub fn new() -> Self {
            Self(std::sync::OnceLock::new(), AtomicBool::new(false))
        }

        /// The value, if it is set.
        pub fn get(&self) -> Option<&T> {
            self.1.load(Ordering::SeqCst);
            self.0.get()
        }

        /// The value, which is created if it is not set.
        pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            self.1.load(Ordering::SeqCst);
            self.0.get_or_init(make)
        }
    }
}
