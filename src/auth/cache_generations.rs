//! Invalidates cached facts about users when a user changes.
//!
//! A cached fact belongs to the user's generation, which is read *before* the fact is looked up. A change of the user
//! ends the generation, and all facts of that generation become invalid. This also covers a fact that was looked up
//! before the change and cached after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

/// The state of a user that a cached fact belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

/// Generations of all users with cached facts. Clones share them.
#[derive(Clone)]
pub struct CacheGenerations {
    by_name: Cache<Arc<str>, Generation>,
    next: Arc<AtomicU64>,
}

impl CacheGenerations {
    /// Holds the generations of at most `size` users. An evicted generation costs only another lookup of that user.
    pub fn new(size: u64) -> Self {
        Self { by_name: Cache::new(size), next: Arc::default() }
    }

    /// The user's current generation; a new one if none exists. Read it before looking up the fact to be cached.
    pub fn current(&self, name: &str) -> Generation {
        let new = || Generation(self.next.fetch_add(1, Ordering::Relaxed));
        self.by_name.get_with(Arc::from(name), new)
    }

    /// Whether the user has not changed since this generation began.
    pub fn is_current(&self, name: &str, generation: Generation) -> bool {
        self.by_name.get(name) == Some(generation)
    }

    /// Ends the generation of one user, after a change of that user.
    pub fn invalidate(&self, name: &str) {
        self.by_name.invalidate(name);
    }

    /// Ends the generations of all users, if any user may have changed.
    pub fn invalidate_all(&self) {
        self.by_name.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_ends_at_a_change_for_good() {
        let generations = CacheGenerations::new(10);
        let (ada, bob) = (generations.current("ada"), generations.current("bob"));
        assert_eq!(generations.current("ada"), ada);
        assert!(generations.is_current("ada", ada) && generations.is_current("bob", bob));
        generations.invalidate("ada");
        assert!(!generations.is_current("ada", ada) && generations.is_current("bob", bob));
        assert_ne!(generations.current("ada"), ada);
        assert!(!generations.is_current("ada", ada), "a fact from before the change stays invalid");
        generations.invalidate_all();
        assert!(!generations.is_current("bob", bob));
    }
}
