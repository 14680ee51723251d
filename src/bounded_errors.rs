//! What is wrong with a request, as far as an answer reports it: the cost of a request must not grow with its mistakes.

use std::ops::Deref;

/// Places that are reported of one body. Enough to correct it.
pub const MAX_ERRORS_PER_BODY: usize = 20;
/// Places that are reported in one answer, a batch's included.
pub const MAX_ERRORS_PER_RESPONSE: usize = 100;

/// The first `MAX` places at fault. Later ones are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundedErrors<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedErrors<T, MAX> {
    /// Adds a place, unless there are `MAX` already.
    pub fn push(&mut self, place: T) {
        if !self.is_full() {
            self.0.push(place);
        }
    }

    /// Whether there are `MAX` places. A search for further ones is useless then.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    /// The places, in the order in which they were found.
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
    /// Asks for no more than `MAX` places.
    fn from_iter<I: IntoIterator<Item = T>>(places: I) -> Self {
        Self(places.into_iter().take(MAX).collect())
    }
}

/// At most `max` bytes of `text`, cut between characters: names in a body may be as long as the body.
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
    fn places_beyond_the_bound_are_neither_kept_nor_looked_for() {
        let mut pushed = BoundedErrors::<usize, 3>::default();
        (0..10).for_each(|place| pushed.push(place));
        assert_eq!(pushed.into_vec(), [0, 1, 2]);
        let mut asked = 0;
        let collected: BoundedErrors<usize, 3> = (0..10).inspect(|_| asked += 1).collect();
        assert!(collected.is_full());
        assert_eq!(asked, 3);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("abc", 3), "abc");
        assert_eq!(truncated("aéb", 2), "a…");
    }
}
