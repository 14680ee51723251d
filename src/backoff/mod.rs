//! Retry delays with exponential growth, an upper bound and jitter, and circuit breakers.

mod breaker_state;
mod circuit_breaker;

use std::time::Duration;

pub use breaker_state::{BreakerDecision, BreakerState};
pub use circuit_breaker::{CallError, CircuitBreaker};

/// Delays between the retries of one operation.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Creates delays that grow from about `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The delay before the next retry. It is a random value from the upper half of the interval, so that callers that
    /// failed together do not retry together.
    pub fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        whole.mul_f64(0.5 + random_fraction() / 2.0)
    }

    /// Resets the delay to the minimum, after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

/// A random number from 0 to 1, which spreads events that would otherwise coincide. It is 1 if the random number
/// generator fails: delays are then valid but not spread.
pub fn random_fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_bound_and_reset_after_success() {
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
