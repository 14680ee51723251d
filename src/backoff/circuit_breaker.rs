//! Circuit breaker around the calls to a dependency, with its gauge and log lines.

use std::fmt::Display;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use crate::sync::Mutex;

use super::{Backoff, BreakerDecision, BreakerState};

/// Number of consecutive failures that open the breaker. Low, so that an outage causes few timeouts, but higher than
/// the number of calls that fail with one lost connection.
const FAILURES: u32 = 5;
/// Delay of the first probe. Short, because most outages are restarts.
const FIRST_PROBE: Duration = Duration::from_millis(100);
/// Maximum delay between probes, and so the time for which a recovered dependency may stay unnoticed.
const LAST_PROBE: Duration = Duration::from_secs(2);

/// Classification of a dependency's errors.
pub trait CallError: Display {
    /// Error for a call that the breaker refused.
    fn refused() -> Self;
    /// Whether the error is an outage: no response, none in time, or one that can change only with a new connection. An
    /// unexpected response is not an outage.
    fn is_outage(&self) -> bool;
}

/// Circuit breaker of one dependency. It has no timeout; each call must have one of its own.
pub struct CircuitBreaker {
    dependency: &'static str,
    breaker: Mutex<BreakerState>,
    /// 1 while the breaker is open.
    open: IntGauge,
    on_open: Box<dyn Fn() + Send + Sync>,
}

impl CircuitBreaker {
    /// Creates a closed breaker. `dependency` is its name in the log. The gauge is 1 while calls are refused. `on_open`
    /// is called each time the breaker opens: the connection may be cut, so the next probe should use a new one.
    pub fn new(dependency: &'static str, open: IntGauge, on_open: impl Fn() + Send + Sync + 'static) -> Self {
        let breaker = BreakerState::new(FAILURES, Backoff::new(FIRST_PROBE, LAST_PROBE));
        Self { dependency, breaker: Mutex::new(breaker), open, on_open: Box::new(on_open) }
    }

    /// Runs the work if the breaker allows it.
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

    /// Records a response to a call that did not go through this breaker: the dependency is healthy.
    pub fn record_success(&self) {
        if self.with(|breaker| breaker.succeeded(Instant::now())) {
            tracing::info!(
                event = "dependency.available",
                dependency = self.dependency,
                "dependency responds again"
            );
        }
    }

    /// Whether calls other than probes are refused.
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
                "dependency is not called until it responds to a probe"
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

/// Permit for one call. Dropping it without a result means that the call was abandoned.
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

    /// A breaker and a counter of its openings.
    fn gate() -> (CircuitBreaker, Arc<AtomicU32>) {
        let opened = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&opened);
        let gauge = IntGauge::new("open", "1 while it is open").unwrap();
        let gate = CircuitBreaker::new("test", gauge, move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (gate, opened)
    }

    /// Runs calls that get no response until the breaker opens.
    async fn open(gate: &CircuitBreaker) {
        for _ in 0..FAILURES {
            assert!(!gate.is_open());
            assert_eq!(gate.call(ready(Err::<(), _>(Error::Away))).await, Err(Error::Away));
        }
        assert_eq!((gate.open.get(), gate.is_open()), (1, true));
    }

    #[tokio::test]
    async fn only_outages_open_the_breaker_not_error_responses() {
        let (gate, opened) = gate();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert_eq!(gate.call(ready(Err::<(), _>(Error::Away))).await, Err(Error::Away));
            }
            assert_eq!(gate.call(ready(Err::<(), _>(Error::Answer))).await, Err(Error::Answer));
        }
        open(&gate).await;
        assert_eq!(gate.call(ready(Ok(()))).await, Err(Error::Refused), "the work is not started");
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_response_outside_the_breaker_closes_it() {
        let (gate, _) = gate();
        open(&gate).await;
        gate.record_success();
        assert_eq!((gate.open.get(), gate.is_open()), (0, false));
        assert_eq!(gate.call(ready(Ok::<_, Error>(()))).await, Ok(()));
    }

    #[tokio::test]
    async fn an_abandoned_call_counts_neither_as_success_nor_failure() {
        let (gate, opened) = gate();
        for _ in 0..2 * FAILURES {
            let never = gate.call(pending::<Result<(), Error>>());
            assert!(tokio::time::timeout(Duration::ZERO, never).await.is_err());
        }
        assert!(!gate.is_open());
        assert_eq!(opened.load(Ordering::Relaxed), 0);
    }
}
