//! A circuit breaker: what failed several times in a row is left alone for a while, so that nobody waits for it.
//!
//! Closed, every call may go. After enough failures in a row it is open: calls are refused at once. When its delay is
//! over, one call goes as a probe; its success closes the breaker, its failure opens it for longer.
//!
//! Who was asked before the last answer and did not answer in time is slow, not away: such a failure says nothing that
//! the answer has not refuted. Without this rule a crowd of calls that wait for a busy machine opens the breaker again and
//! again between answers, and each time takes the connections of those that would be answered.

use std::time::Instant;

use super::Backoff;

/// The breaker of one dependency. It has no clock: whoever asks says what time it is.
#[derive(Debug)]
pub struct BreakerState {
    threshold: u32,
    delays: Backoff,
    state: BreakerPhase,
    /// When the last answer came.
    last_success: Option<Instant>,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call is under way, all others are refused.
    Probing,
}

/// What may be done now. Whoever got a call or a probe says how it ended: by [`BreakerState::succeeded`],
/// [`BreakerState::failed`], or [`BreakerState::abandoned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerDecision {
    /// Call.
    Call,
    /// Call: whether the dependency is back depends on it.
    Probe,
    /// Do not.
    Refused,
}

impl BreakerState {
    /// Opens after `threshold` failures in a row, for the delays of `delays`.
    pub fn new(threshold: u32, delays: Backoff) -> Self {
        Self {
            threshold: threshold.max(1),
            delays,
            state: BreakerPhase::Closed { failures: 0 },
            last_success: None,
        }
    }

    /// Whether a call may go.
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

    /// A call was answered: the dependency is well. Says whether the breaker was open until now.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        let was_open = self.is_open();
        self.last_success = Some(now);
        self.delays.reset();
        self.state = BreakerPhase::Closed { failures: 0 };
        was_open
    }

    /// A call that began then was not answered. Says whether that opened the breaker (again).
    pub fn failed(&mut self, admission: BreakerDecision, began: Instant, now: Instant) -> bool {
        let refuted = self.last_success.is_some_and(|answered| began < answered);
        let opens = match &mut self.state {
            BreakerPhase::Closed { .. } if refuted => false,
            BreakerPhase::Closed { failures } => {
                *failures += 1;
                *failures >= self.threshold
            }
            BreakerPhase::Probing => admission == BreakerDecision::Probe,
            // Begun before it opened: nothing new.
            BreakerPhase::Open { .. } => false,
        };
        if opens {
            self.state = BreakerPhase::Open { until: now + self.delays.delay() };
        }
        opens
    }

    /// A call ended without an answer and without a failure: whoever asked went away. The next probe waits as it does
    /// after a failure: impatient callers must not follow one another to where nobody answers.
    pub fn abandoned(&mut self, admission: BreakerDecision, now: Instant) {
        if admission == BreakerDecision::Probe && matches!(self.state, BreakerPhase::Probing) {
            self.state = BreakerPhase::Open { until: now + self.delays.delay() };
        }
    }

    /// Whether calls are refused, but for a probe.
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
    fn only_failures_in_a_row_open_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.failed(BreakerDecision::Call, now, now));
            assert!(!breaker.failed(BreakerDecision::Call, now, now));
            assert!(!breaker.succeeded(now), "it was closed all the time");
        }
        assert_eq!(breaker.admit(now), BreakerDecision::Call);
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now), BreakerDecision::Refused);
    }

    #[test]
    fn one_probe_goes_when_the_delay_is_over_and_its_success_closes_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        assert_eq!(breaker.admit(now + MIN / 4), BreakerDecision::Refused);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Probe);
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused, "one at a time");
        assert!(breaker.succeeded(now + MIN));
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Call);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_up_to_the_bound() {
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
    fn calls_begun_before_it_opened_neither_prolong_nor_replace_the_probe() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        assert!(!breaker.failed(BreakerDecision::Call, now, now + MIN));
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Probe);
        assert!(!breaker.failed(BreakerDecision::Call, now, now + MIN), "it was not the probe");
        assert_eq!(breaker.admit(now + MIN), BreakerDecision::Refused);
        assert!(breaker.succeeded(now + MIN), "an answer is an answer, whoever asked");
    }

    #[test]
    fn calls_begun_before_an_answer_open_nothing_when_they_fail_after_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        open(&mut breaker, now);
        breaker.succeeded(now + MIN);
        assert!((0..100).all(|_| !breaker.failed(BreakerDecision::Call, now, now + 2 * MIN)));
        assert_eq!(breaker.admit(now + 2 * MIN), BreakerDecision::Call);
        let since: Vec<_> =
            (0..3).map(|_| breaker.failed(BreakerDecision::Call, now + 2 * MIN, now + 3 * MIN)).collect();
        assert_eq!(since, [false, false, true], "nobody has answered since");
    }

    #[test]
    fn a_probe_that_nobody_waits_for_any_more_makes_room_for_the_next_one_in_time() {
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
