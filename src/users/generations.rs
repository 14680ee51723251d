//! Whether something about a user has changed since a moment.
//!
//! A reader notes the generation of a name before it reads, and remembers nothing when it is another one afterwards.
//! Names share generations: a change of one name costs another one a second read at most.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Far more than reads that are under way at once, so that few of them are in vain. 32 KiB.
const STRIPES: usize = 4096;

/// Counts the changes of all users.
pub(super) struct UserGenerations(Box<[AtomicU64]>);

impl Default for UserGenerations {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl UserGenerations {
    /// The present one of a name.
    pub fn current(&self, name: &str) -> u64 {
        self.0[stripe(name)].load(Ordering::SeqCst)
    }

    /// Begins the next one of a name, and returns it: what is being read of it now is not remembered.
    pub fn advance(&self, name: &str) -> u64 {
        self.0[stripe(name)].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The same for all names.
    pub fn advance_all(&self) {
        for stripe in &self.0 {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The present ones of all names.
    pub fn snapshot(&self) -> GenerationSnapshot {
        GenerationSnapshot(self.0.iter().map(|stripe| stripe.load(Ordering::SeqCst)).collect())
    }
}

/// The generations of all names at one moment.
pub(super) struct GenerationSnapshot(Box<[u64]>);

impl GenerationSnapshot {
    /// That of a name.
    pub fn of(&self, name: &str) -> u64 {
        self.0[stripe(name)]
    }
}

fn stripe(name: &str) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    // Less than the number of stripes.
    usize::try_from(hash % STRIPES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_name_or_of_all_begins_another_generation() {
        let generations = UserGenerations::default();
        let (ada, before) = (generations.current("ada"), generations.snapshot());
        assert_eq!(before.of("ada"), ada);
        assert_eq!(generations.advance("ada"), generations.current("ada"));
        assert_ne!(generations.current("ada"), before.of("ada"));
        let others = (0..100).map(|number| format!("user{number}"));
        let changed = others.filter(|name| generations.current(name) != before.of(name)).count();
        assert!(changed < 10, "a change of one name is none of most others: {changed}");
        let (ada, bob) = (generations.current("ada"), generations.current("bob"));
        generations.advance_all();
        assert!(generations.current("ada") != ada && generations.current("bob") != bob);
    }
}
