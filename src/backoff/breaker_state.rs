//! State machine of a circuit breaker: after several consecutive failures, calls are refused for a while instead of
//! waiting for a dependency that does not respond.
//!
//! - Closed: every call is allowed. Enough consecutive failures open the breaker.
//! - Open: calls are refused at once. After its delay, one call is allowed as a probe. If the probe succeeds, the
//!   breaker
//!   closes; if it fails, the breaker opens for longer.
//!
//! A failed call that began before the last response does not count. Its dependency was slow, not unavailable, and the
//! later response has already disproved an outage. Without this rule, many calls that wait on a busy machine would open
//! the breaker again and again between responses, and each time drop the connections of calls that would succeed.

use std::time::Instant;

use super::Backoff;

/// Circuit breaker of one dependency. It has no clock: callers pass the current time.
#[derive(Debug)]
pub struct BreakerState {
    threshold: u32,
    delays: Backoff,
    state: BreakerPhase,
    /// Time of the last response.
    last_success: Option<Instant>,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed {
        /// Number of consecutive failures.
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call is in flight as a probe; all others are refused.
    Probing,
}

/// Decision about a call. A caller that may call or probe must report the result with [`BreakerState::succeeded`],
/// [`BreakerState::failed`], or [`BreakerState::abandoned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerDecision {
    /// The call is allowed.
    Call,
    /// The call is allowed as a probe. Its result decides whether the breaker closes.
    Probe,
    /// The call is refused.
    Refused,
}

impl BreakerState {
    /// Creates a closed breaker. It opens after `threshold` consecutive failures, for the periods of `delays`.
    pub fn new(threshold: u32, delays: Backoff) -> Self {
        Self {
            threshold: threshold.max(1),
            delays,
            state: BreakerPhase::Closed { failures: 0 },
            last_success: None,
        }
    }

    /// Decides whether a call is allowed.
    pub fn admit(&mut self, now: Instant) -> BreakerDecision {
        match self.state {
            BreakerPhase::Closed { .. } => BreakerDecision::Call,
            BreakerPhase::Open { until } if now >= until => {
                self.state = BreakerPhase::Probing;
                BreakerDecision::Probe
            }
            BreakerPhase::Open { .. } | BreakerPhase::Probing => BreakerDecision::Refused,
        }
    }

    /// Records that a call got a response. Returns `true` if the breaker was open until now.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        let was_open = self.is_open();
        self.last_success = Some(now);
        self.delays.reset();
        self.state = BreakerPhase::Closed { failures: 0 };
        was_open
    }

    /// Records that a call, begun at `began`, got no response. Returns `true` if this opened the breaker (again).
    pub fn failed(&mut self, admission: BreakerDecision, began: Instant, now: Instant) -> bool {
        let refuted = self.last_success.is_some_and(|answered| began < answered);
        let opens = match &mut self.state {
            BreakerPhase::Closed { .. } if refuted => false,
            BreakerPhase::Closed { failures } => {
                *failures += 1;
                *failures >= self.threshold
            }
            BreakerPhase::Probing => admission == BreakerDecision::Probe,
            // The call began before the breaker opened, so it adds no information.
            BreakerPhase::Open { .. } => false,
        };
        if opens {
            self.state = BreakerPhase::Open { until: now + self.delays.delay() };
        }
        opens
    }

    /// Records that the caller abandoned a call, which therefore neither succeeded nor failed. The next probe waits as
    /// after a failure, so that impatient callers do not send one probe after another to a dependency that is
    /// unavailable.
    pub fn abandoned(&mut self, admission: BreakerDecision, now: Instant) {
        if admission == BreakerDecision::Probe && matches!(self.state, BreakerPhase::Probing) {
            self.state = BreakerPhase::Open { until: now + self.delays.delay() };
        }
    }

    /// Whether calls other than probes are refused.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, BreakerPhase::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_millis(400);

    fn breaker() -> BreakerState {
        BreakerState::new(3, Backoff::new(MIN, MAX))
    }

    fn open(breaker: &mut BreakerState, now: Instant) {
        let opened: Vec<_> = (0..3).map(|_| breaker.failed(BreakerDecision::Call, now, now)).collect();
        assert_eq!(opened, [false, false, true]);
    }

    #[test]
    fn only_consecutive_failures_open_the_breaker() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.failed(BreakerDecision::Call, now, now));
            assert!(!breaker.failed(BreakerDecision::Call, now, now));
            assert!(!breaker.succeeded(now), "the breaker was never open");
        }
        assert_eq!(breaker.admit(now), BreakerDecision::Call);
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now), BreakerDecision::Refused);
    }

    #[test]
    fn after_the_delay_a_successful_probe_closes_the_breaker() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now + MIN / 4), BreakerDecision::Refused);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Probe);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused, "one probe at a time");
        assert!(breaker.succeeded(now + MIN));
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Call);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_failed_probe_opens_the_breaker_for_longer() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        for whole in [200, 400, 400].map(Duration::from_millis) {
            now += MAX;
            assert_eq!(breaker.admit(now), BreakerDecision::Probe);
            assert!(breaker.failed(BreakerDecision::Probe, now, now));
            assert_eq!(breaker.admit(now + whole / 3), BreakerDecision::Refused);
        }
        assert_eq!(breaker.admit(now + MAX), BreakerDecision::Probe);
    }

    #[test]
    fn calls_begun_before_the_opening_do_not_count_as_probe() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        assert!(!breaker.failed(BreakerDecision::Call, now, now + MIN));
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Probe);
        assert!(!breaker.failed(BreakerDecision::Call, now, now + MIN), "the call was not the probe");
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused);
        assert!(breaker.succeeded(now + MIN), "any response closes the breaker");
    }

    #[test]
    fn failures_of_calls_begun_before_a_response_do_not_count() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        breaker.succeeded(now + MIN);
        assert!((0..100).all(|_| !breaker.failed(BreakerDecision::Call, now, now + 2 * MIN)));
        assert_eq!(breaker.admit(now + 2 * MIN), BreakerDecision::Call);
        let since: Vec<_> =
            (0..3).map(|_| breaker.failed(BreakerDecision::Call, now + 2 * MIN, now + 3 * MIN)).collect();
        assert_eq!(since, [false, false, true], "no response since");
    }

    #[test]
    fn an_abandoned_probe_is_followed_by_another_after_a_delay() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.abandoned(BreakerDecision::Call, now);
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Probe);
        breaker.abandoned(BreakerDecision::Call, now + MIN);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused);
        breaker.abandoned(BreakerDecision::Probe, now + MIN);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused);
        assert_eq!(breaker.admit(now + MIN + MAX), BreakerDecision::Probe);
    }
}
