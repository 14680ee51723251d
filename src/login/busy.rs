//! Fast fail: above a number of logins in progress others are refused at once, instead of all becoming slow.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Logins in progress.
pub(super) struct InProgress {
    count: AtomicUsize,
    most: usize,
}

/// One of them.
pub(super) struct Seat<'a>(&'a InProgress);

impl InProgress {
    pub fn new(most: usize) -> Self {
        Self { count: AtomicUsize::new(0), most }
    }

    /// None: there are too many.
    pub fn enter(&self) -> Option<Seat<'_>> {
        // Counted before it is looked at, so that no two take the last seat.
        let seat = Seat(self);
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_when_its_login_ends_or_was_refused() {
        let logins = InProgress::new(2);
        let (one, two) = (logins.enter(), logins.enter());
        assert!(one.is_some() && two.is_some());
        assert!(logins.enter().is_none() && logins.enter().is_none());
        drop(one);
        assert!(logins.enter().is_some());
    }
}
