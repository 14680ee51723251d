//! Locks, condition variables and atomics of the log and of the way into it: the standard library's, or, with the
//! feature `shuttle`, ones whose every call is a point where another thread may go on. No release has the feature.

#[cfg(not(feature = "shuttle"))]
use std::sync as from;

#[cfg(feature = "shuttle")]
use shuttle::sync as from;

pub use from::Condvar;
pub use from::Mutex;
pub use from::MutexGuard;
pub use from::RwLock;
pub use from::atomic;

#[cfg(not(feature = "shuttle"))]
pub use std::sync::OnceLock;

#[cfg(feature = "shuttle")]
pub use once::OnceLock;

/// Shuttle has none.
#[cfg(feature = "shuttle")]
mod once {
    use super::atomic::AtomicBool;
    use super::atomic::Ordering;

    /// The standard library's, with a point before each call where another thread may go on.
    pub struct OnceLock<T>(std::sync::OnceLock<T>, AtomicBool);

    impl<T> OnceLock<T> {
        /// An empty cell.
        pub fn new() -> Self {
            Self(std::sync::OnceLock::new(), AtomicBool::new(false))
        }

        /// The value, if there is one.
        pub fn get(&self) -> Option<&T> {
            self.1.load(Ordering::SeqCst);
            self.0.get()
        }

        /// The value, made now if there is none.
        pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            self.1.load(Ordering::SeqCst);
            self.0.get_or_init(make)
        }
    }
}
