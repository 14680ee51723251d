//! How a change of a user reaches what is remembered about them.
//!
//! Whatever is remembered about a user is remembered under the user's mark, taken *before* the truth was asked. When
//! something about the user changes the mark goes, and what was remembered under it counts no more; also what is put
//! into a cache only a moment later by somebody who had asked before the change.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use moka::sync::Cache;

/// What something is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// The marks of all users of whom something is remembered. Clones share them.
#[derive(Clone)]
pub struct Marks {
    by_name: Cache<Arc<str>, Mark>,
    next: Arc<AtomicU64>,
}

impl Marks {
    /// At most `size` users; whose mark has to go is only asked about once more.
    pub fn new(size: u64) -> Self {
        Self { by_name: Cache::new(size), next: Arc::default() }
    }

    /// The user's mark, a new one if there is none. Take it before asking what is to be remembered.
    pub fn take(&self, name: &str) -> Mark {
        let new = || Mark(self.next.fetch_add(1, Ordering::Relaxed));
        self.by_name.get_with(Arc::from(name), new)
    }

    /// Whether nothing has changed since.
    pub fn holds(&self, name: &str, mark: Mark) -> bool {
        self.by_name.get(name) == Some(mark)
    }

    /// Something about this user has changed.
    pub fn remove(&self, name: &str) {
        self.by_name.invalidate(name);
    }

    /// Something about anybody may have changed.
    pub fn remove_all(&self) {
        self.by_name.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_until_something_changes_and_never_again() {
        let marks = Marks::new(10);
        let (ada, bob) = (marks.take("ada"), marks.take("bob"));
        assert_eq!(marks.take("ada"), ada);
        assert!(marks.holds("ada", ada) && marks.holds("bob", bob));
        marks.remove("ada");
        assert!(!marks.holds("ada", ada) && marks.holds("bob", bob));
        assert_ne!(marks.take("ada"), ada);
        assert!(!marks.holds("ada", ada), "what was asked before the change stays worthless");
        marks.remove_all();
        assert!(!marks.holds("bob", bob));
    }
}
