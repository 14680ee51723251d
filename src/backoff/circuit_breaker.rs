//! The breaker that calls to a dependency pass, with its gauge and its lines in the log.

use std::fmt::Display;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use crate::sync::Mutex;

use super::{Backoff, BreakerDecision, BreakerState};

/// Few, so that an outage costs few time-outs; more than the calls that one lost connection fails.
const FAILURES: u32 = 5;
/// The first probe comes soon, because most outages are a restart.
const FIRST_PROBE: Duration = Duration::from_millis(100);
/// How long the return of a dependency may go unnoticed.
const LAST_PROBE: Duration = Duration::from_secs(2);

/// The errors of a dependency, as far as a gate has to tell them apart.
pub trait CallError: Display {
    /// For a call that was not let through.
    fn refused() -> Self;
    /// Whether there was no answer, none in time, or one that only a connection made anew can give differently. An answer
    /// that makes no sense is an answer.
    fn is_outage(&self) -> bool;
}

/// Where calls to one dependency pass. Each has an end of its own: the gate has no time-out.
pub struct CircuitBreaker {
    dependency: &'static str,
    breaker: Mutex<BreakerState>,
    /// 1 while it is open.
    open: IntGauge,
    on_open: Box<dyn Fn() + Send + Sync>,
}

impl CircuitBreaker {
    /// Closed. The name is for the log; the gauge is 1 while calls are refused. Whenever it opens, again too,
    /// `on_open` is called: who does not answer may be at the other end of a cut cable, so that the next probe should
    /// have a new connection.
    pub fn new(
        dependency: &'static str,
        open: IntGauge,
        when_open: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let breaker = BreakerState::new(FAILURES, Backoff::new(FIRST_PROBE, LAST_PROBE));
        Self { dependency, breaker: Mutex::new(breaker), open, on_open: Box::new(when_open) }
    }

    /// Does the work, if it may be tried at all.
    pub async fn call<T, E: CallError>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let admission = self.with(|breaker| breaker.admit(began));
        if admission == BreakerDecision::Refused {
            return Err(E::refused());
        }
        let pass = CallGuard { gate: self, began, admission: Some(admission) };
        let result = work.await;
        pass.finish(result.as_ref().err());
        result
    }

    /// Somebody who did not pass here was answered: the dependency is well.
    pub fn record_success(&self) {
        if self.with(|breaker| breaker.succeeded(Instant::now())) {
            tracing::info!(
                event = "dependency.available",
                dependency = self.dependency,
                "dependency answers again"
            );
        }
    }

    /// Whether calls are refused, but for a probe.
    pub fn is_open(&self) -> bool {
        self.with(|breaker| breaker.is_open())
    }

    fn failed(&self, admission: BreakerDecision, began: Instant, why: &dyn Display) {
        if !self.with(|breaker| breaker.failed(admission, began, Instant::now())) {
            return;
        }
        if admission == BreakerDecision::Call {
            let dependency = self.dependency;
            tracing::warn!(
                event = "dependency.unavailable",
                dependency,
                error = %why,
                "dependency is not asked until it answers a probe"
            );
        }
        (self.on_open)();
    }

    fn with<T>(&self, act: impl FnOnce(&mut BreakerState) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let done = act(&mut breaker);
        self.open.set(breaker.is_open().into());
        done
    }
}

/// Leave for one call; without a word on how it ended, nobody waited for that.
struct CallGuard<'a> {
    gate: &'a CircuitBreaker,
    began: Instant,
    admission: Option<BreakerDecision>,
}

impl CallGuard<'_> {
    fn finish(mut self, error: Option<&impl CallError>) {
        let Some(admission) = self.admission.take() else { return };
        match error.filter(|error| error.is_outage()) {
            Some(outage) => self.gate.failed(admission, self.began, outage),
            None => self.gate.record_success(),
        }
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.gate.with(|breaker| breaker.abandoned(admission, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error("{self:?}")]
    enum Error {
        Away,
        Answer,
        Refused,
    }

    impl CallError for Error {
        fn refused() -> Self {
            Self::Refused
        }

        fn is_outage(&self) -> bool {
            *self == Self::Away
        }
    }

    /// A gate, and how often it opened.
    fn gate() -> (CircuitBreaker, Arc<AtomicU32>) {
        let opened = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&opened);
        let gauge = IntGauge::new("open", "1 while it is open").unwrap();
        let gate = CircuitBreaker::new("test", gauge, move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (gate, opened)
    }

    /// Calls that are not answered, until it opens.
    async fn open(gate: &CircuitBreaker) {
        for _ in 0..FAILURES {
            assert!(!gate.is_open());
            assert_eq!(gate.call(ready(Err::<(), _>(Error::Away))).await, Err(Error::Away));
        }
        assert_eq!((gate.open.get(), gate.is_open()), (1, true));
    }

    #[tokio::test]
    async fn outages_in_a_row_open_it_and_errors_that_are_answers_do_not() {
        let (gate, opened) = gate();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert_eq!(gate.call(ready(Err::<(), _>(Error::Away))).await, Err(Error::Away));
            }
            assert_eq!(gate.call(ready(Err::<(), _>(Error::Answer))).await, Err(Error::Answer));
        }
        open(&gate).await;
        assert_eq!(gate.call(ready(Ok(()))).await, Err(Error::Refused), "the work is not begun");
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_answer_to_somebody_else_closes_it() {
        let (gate, _) = gate();
        open(&gate).await;
        gate.record_success();
        assert_eq!((gate.open.get(), gate.is_open()), (0, false));
        assert_eq!(gate.call(ready(Ok::<_, Error>(()))).await, Ok(()));
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_counts_as_nothing() {
        let (gate, opened) = gate();
        for _ in 0..2 * FAILURES {
            let never = gate.call(pending::<Result<(), Error>>());
            assert!(tokio::time::timeout(Duration::ZERO, never).await.is_err());
        }
        assert!(!gate.is_open());
        assert_eq!(opened.load(Ordering::Relaxed), 0);
    }
}
