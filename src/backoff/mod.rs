//! How long to wait before the next try: doubling, bounded, with jitter. And when not to try at all: the breaker.

mod breaker_state;
mod circuit_breaker;

use std::time::Duration;

pub use breaker_state::{BreakerDecision, BreakerState};
pub use circuit_breaker::{CallError, CircuitBreaker};

/// The delays of one thing that is tried again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from about `min` up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The delay before the next try: a random part of the upper half, so that many who failed together do not
    /// come back together.
    pub fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        whole.mul_f64(0.5 + random_fraction() / 2.0)
    }

    /// It worked: the next delay is the shortest again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

/// A number from 0 to 1, so that what begins together does not end together. Without randomness it is 1: times are
/// still right then, only not spread.
pub fn random_fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_start_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for whole in [100, 200, 350, 350] {
            let delay = backoff.delay();
            assert!(delay >= Duration::from_millis(whole / 2), "{delay:?}");
            assert!(delay <= Duration::from_millis(whole), "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(100));
    }
}
