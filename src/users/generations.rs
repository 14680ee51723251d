//! Detects whether a user has changed since a read began.
//!
//! A reader takes the generation of a name before it reads, and caches the result only if the generation is unchanged
//! afterwards. Names share generations, so a change of one name costs another name at most one more read.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Far more than the number of concurrent reads, so that few are wasted. 32 KiB.
const STRIPES: usize = 4096;

/// Counters of changes, for all users.
pub(super) struct UserGenerations(Box<[AtomicU64]>);

impl Default for UserGenerations {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl UserGenerations {
    /// The current generation of a name.
    pub fn current(&self, name: &str) -> u64 {
        self.0[stripe(name)].load(Ordering::SeqCst)
    }

    /// Begins and returns the next generation of a name. Reads of the name in progress are not cached.
    pub fn advance(&self, name: &str) -> u64 {
        self.0[stripe(name)].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Begins the next generation of all names.
    pub fn advance_all(&self) {
        for stripe in &self.0 {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The current generations of all names.
    pub fn snapshot(&self) -> GenerationSnapshot {
        GenerationSnapshot(self.0.iter().map(|stripe| stripe.load(Ordering::SeqCst)).collect())
    }
}

/// The generations of all names at one moment.
pub(super) struct GenerationSnapshot(Box<[u64]>);

impl GenerationSnapshot {
    /// The generation of a name.
    pub fn of(&self, name: &str) -> u64 {
        self.0[stripe(name)]
    }
}

fn stripe(name: &str) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    // The result is less than the number of stripes.
    usize::try_from(hash % STRIPES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_begins_a_new_generation() {
        let generations = UserGenerations::default();
        let (ada, before) = (generations.current("ada"), generations.snapshot());
        assert_eq!(before.of("ada"), ada);
        assert_eq!(generations.advance("ada"), generations.current("ada"));
        assert_ne!(generations.current("ada"), before.of("ada"));
        let others = (0..100).map(|number| format!("user{number}"));
        let changed = others.filter(|name| generations.current(name) != before.of(name)).count();
        assert!(changed < 10, "a change of one name must not affect most others: {changed}");
        let (ada, bob) = (generations.current("ada"), generations.current("bob"));
        generations.advance_all();
        assert!(generations.current("ada") != ada && generations.current("bob") != bob);
    }
}
