//! Locks, condition variables and atomics of the log and of the way into it: the standard library's, or, in tests
//! with the feature `shuttle`, ones whose every call is a point where another thread may go on.
//!
//! Shuttle is a dev-dependency and stands behind `cfg(test)`: no program can have it in it.

#[cfg(not(all(test, feature = "shuttle")))]
use std::sync as from;

#[cfg(all(test, feature = "shuttle"))]
use shuttle::sync as from;

pub use from::Condvar;
pub use from::Mutex;
pub use from::MutexGuard;
pub use from::RwLock;
pub use from::atomic;

#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::OnceLock;

#[cfg(all(test, feature = "shuttle"))]
pub use once::OnceLock;

/// Shuttle has none.
#[cfg(all(test, feature = "shuttle"))]
mod once {
    use super::atomic::AtomicBool;
    use super::atomic::Ordering;

    /// The standard library's, with a point before each call where another thread may go on.
    pub struct OnceLock<T>(std::sync::OnceLock<T>, AtomicBool);

    impl<T> OnceLock<T> {
        pub fn new() -> Self {
            Self(std::sync::OnceLock::new(), AtomicBool::new(false))
        }

        pub fn get(&self) -> Option<&T> {
            self.1.load(Ordering::SeqCst);
            self.0.get()
        }

        pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            self.1.load(Ordering::SeqCst);
            self.0.get_or_init(make)
        }
    }
}
