//! Lists of validation errors with an upper bound.
//!
//! The cost of a request must not grow with the number of its errors, so a response reports only the first ones.

use std::ops::Deref;

/// Maximum number of errors reported for one body. That is enough to correct it.
pub const MAX_ERRORS_PER_BODY: usize = 20;
/// Maximum number of errors reported in one response, including the response to a batch.
pub const MAX_ERRORS_PER_RESPONSE: usize = 100;

/// The first `MAX` errors. Later ones are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundedErrors<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedErrors<T, MAX> {
    /// Adds an error, unless the list is full.
    pub fn push(&mut self, place: T) {
        if !self.is_full() {
            self.0.push(place);
        }
    }

    /// Returns whether the list holds `MAX` errors. A search for more is useless then.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    /// The errors, in the order in which they were found.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for BoundedErrors<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for BoundedErrors<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> FromIterator<T> for BoundedErrors<T, MAX> {
    /// Takes at most `MAX` items from the iterator.
    fn from_iter<I: IntoIterator<Item = T>>(places: I) -> Self {
        Self(places.into_iter().take(MAX).collect())
    }
}

/// At most `max` bytes of `text`, cut at a character boundary. A name in a body may be as long as the body.
pub fn truncated(text: &str, max: usize) -> String {
    match text.len() > max {
        true => format!("{}…", &text[..text.floor_char_boundary(max)]),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_beyond_the_bound_are_neither_kept_nor_computed() {
        let mut pushed = BoundedErrors::<usize, 3>::default();
        (0..10).for_each(|place| pushed.push(place));
        assert_eq!(pushed.into_vec(), [0, 1, 2]);
        let mut taken = 0;
        let collected: BoundedErrors<usize, 3> = (0..10).inspect(|_| taken += 1).collect();
        assert!(collected.is_full());
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("abc", 3), "abc");
        assert_eq!(truncated("aéb", 2), "a…");
    }
}
