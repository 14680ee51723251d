//! When the database is overloaded, and when it is well again.

use std::time::Duration;

use super::Degraded;

/// A transaction that takes longer is a sign of overload. Usual ones take milliseconds.
const SLOW_TRANSACTION: Duration = Duration::from_secs(1);
/// So many slow ones in a row: the mode is entered.
const ENTER_AFTER: u32 = 5;
/// So many quick ones in a row: it is left. More than it takes to enter, so that it does not flutter.
const LEAVE_AFTER: u32 = 30;

/// Whether only the core columns are written.
pub(super) struct DegradedMode {
    setting: Degraded,
    is_on: bool,
    in_a_row: u32,
}

impl DegradedMode {
    pub(super) fn new(wanted: Degraded) -> Self {
        Self { setting: wanted, is_on: wanted == Degraded::On, in_a_row: 0 }
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A transaction took this long.
    pub(super) fn on_transaction(&mut self, time: Duration) {
        if self.setting != Degraded::Auto {
            return;
        }
        let speaks_for_change = (time >= SLOW_TRANSACTION) != self.is_on;
        self.in_a_row = if speaks_for_change { self.in_a_row + 1 } else { 0 };
        if self.in_a_row >= if self.is_on { LEAVE_AFTER } else { ENTER_AFTER } {
            self.is_on = !self.is_on;
            self.in_a_row = 0;
            tracing::warn!(
                event = "consumer.degraded_changed",
                consumer.degraded = self.is_on,
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
        (1..ENTER_AFTER).for_each(|_| mode.on_transaction(SLOW_TRANSACTION));
        mode.on_transaction(Duration::ZERO);
        assert!(!mode.is_on(), "not in a row");
        (0..ENTER_AFTER).for_each(|_| mode.on_transaction(SLOW_TRANSACTION));
        assert!(mode.is_on());
        (1..LEAVE_AFTER).for_each(|_| mode.on_transaction(Duration::ZERO));
        assert!(mode.is_on());
        mode.on_transaction(Duration::ZERO);
        assert!(!mode.is_on());
    }

    #[test]
    fn what_is_set_stays() {
        let (mut on, mut off) = (DegradedMode::new(Degraded::On), DegradedMode::new(Degraded::Off));
        (0..LEAVE_AFTER * 2).for_each(|_| on.on_transaction(Duration::ZERO));
        (0..LEAVE_AFTER * 2).for_each(|_| off.on_transaction(SLOW_TRANSACTION));
        assert!(on.is_on() && !off.is_on());
    }
}
