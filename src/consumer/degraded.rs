//! Detects an overloaded database, and its recovery.

use std::time::Duration;

use super::Degraded;

/// A transaction that takes longer is a sign of overload. Usual transactions take milliseconds.
const SLOW_TRANSACTION: Duration = Duration::from_secs(1);
/// Consecutive slow transactions after which degraded mode begins.
const ENTER_AFTER: u32 = 5;
/// Consecutive fast transactions after which degraded mode ends. More than `ENTER_AFTER`, so that the mode does not
/// flap.
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

    /// Whether degraded mode is active.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Records the duration of a transaction.
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
                "degraded mode changed because of the database's speed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_mode_follows_the_speed_of_transactions() {
        let mut mode = DegradedMode::new(Degraded::Auto);
        (1..ENTER_AFTER).for_each(|_| mode.on_transaction(SLOW_TRANSACTION));
        mode.on_transaction(Duration::ZERO);
        assert!(!mode.is_on(), "the slow transactions were not consecutive");
        (0..ENTER_AFTER).for_each(|_| mode.on_transaction(SLOW_TRANSACTION));
        assert!(mode.is_on());
        (1..LEAVE_AFTER).for_each(|_| mode.on_transaction(Duration::ZERO));
        assert!(mode.is_on());
        mode.on_transaction(Duration::ZERO);
        assert!(!mode.is_on());
    }

    #[test]
    fn a_configured_mode_does_not_change() {
        let (mut on, mut off) = (DegradedMode::new(Degraded::On), DegradedMode::new(Degraded::Off));
        (0..LEAVE_AFTER * 2).for_each(|_| on.on_transaction(Duration::ZERO));
        (0..LEAVE_AFTER * 2).for_each(|_| off.on_transaction(SLOW_TRANSACTION));
        assert!(on.is_on() && !off.is_on());
    }
}
