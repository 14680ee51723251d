//! When the database is overloaded, and when it is well again.

use std::time::Duration;

use super::Degraded;

/// A transaction that takes longer is a sign of overload. Usual ones take milliseconds.
const SLOW: Duration = Duration::from_secs(1);
/// So many slow ones in a row: the mode is entered.
const ENTER: u32 = 5;
/// So many quick ones in a row: it is left. More than it takes to enter, so that it does not flutter.
const LEAVE: u32 = 30;

/// Whether only the core columns are written.
pub(super) struct DegradedMode {
    wanted: Degraded,
    on: bool,
    in_a_row: u32,
}

impl DegradedMode {
    pub(super) fn new(wanted: Degraded) -> Self {
        Self { wanted, on: wanted == Degraded::On, in_a_row: 0 }
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// A transaction took this long.
    pub(super) fn took(&mut self, time: Duration) {
        if self.wanted != Degraded::Auto {
            return;
        }
        let speaks_for_change = (time >= SLOW) != self.on;
        self.in_a_row = if speaks_for_change { self.in_a_row + 1 } else { 0 };
        if self.in_a_row >= if self.on { LEAVE } else { ENTER } {
            self.on = !self.on;
            self.in_a_row = 0;
            tracing::warn!(
                event = "consumer.degraded_changed",
                consumer.degraded = self.on,
                "degraded mode changed with the speed of the database"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_entered_after_slow_transactions_and_left_after_more_quick_ones() {
        let mut mode = DegradedMode::new(Degraded::Auto);
        (1..ENTER).for_each(|_| mode.took(SLOW));
        mode.took(Duration::ZERO);
        assert!(!mode.is_on(), "not in a row");
        (0..ENTER).for_each(|_| mode.took(SLOW));
        assert!(mode.is_on());
        (1..LEAVE).for_each(|_| mode.took(Duration::ZERO));
        assert!(mode.is_on());
        mode.took(Duration::ZERO);
        assert!(!mode.is_on());
    }

    #[test]
    fn what_is_set_stays() {
        let (mut on, mut off) = (DegradedMode::new(Degraded::On), DegradedMode::new(Degraded::Off));
        (0..LEAVE * 2).for_each(|_| on.took(Duration::ZERO));
        (0..LEAVE * 2).for_each(|_| off.took(SLOW));
        assert!(on.is_on() && !off.is_on());
    }
}
