//! How a change of a user reaches what is remembered about them.
//!
//! A cached fact about a user belongs to the user's generation, which is read *before* the truth is asked. A change of the
//! user ends the generation, and facts of it count no more. This holds too for a fact that a reader asked for before the
//! change and puts into a cache only after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

/// Which state of a user a cached fact belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

/// The generations of all users of whom something is cached. Clones share them.
#[derive(Clone)]
pub struct CacheGenerations {
    by_name: Cache<Arc<str>, Generation>,
    next: Arc<AtomicU64>,
}

impl CacheGenerations {
    /// At most `size` users; a user whose generation has to go is only asked about once more.
    pub fn new(size: u64) -> Self {
        Self { by_name: Cache::new(size), next: Arc::default() }
    }

    /// The user's generation, a new one if there is none. Take it before asking what is to be remembered.
    pub fn current(&self, name: &str) -> Generation {
        let new = || Generation(self.next.fetch_add(1, Ordering::Relaxed));
        self.by_name.get_with(Arc::from(name), new)
    }

    /// Whether nothing has changed since.
    pub fn is_current(&self, name: &str, generation: Generation) -> bool {
        self.by_name.get(name) == Some(generation)
    }

    /// Something about this user has changed.
    pub fn invalidate(&self, name: &str) {
        self.by_name.invalidate(name);
    }

    /// Something about anybody may have changed.
    pub fn invalidate_all(&self) {
        self.by_name.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_holds_until_something_changes_and_never_again() {
        let generations = CacheGenerations::new(10);
        let (ada, bob) = (generations.current("ada"), generations.current("bob"));
        assert_eq!(generations.current("ada"), ada);
        assert!(generations.is_current("ada", ada) && generations.is_current("bob", bob));
        generations.invalidate("ada");
        assert!(!generations.is_current("ada", ada) && generations.is_current("bob", bob));
        assert_ne!(generations.current("ada"), ada);
        assert!(!generations.is_current("ada", ada), "what was asked before the change stays worthless");
        generations.invalidate_all();
        assert!(!generations.is_current("bob", bob));
    }
}
