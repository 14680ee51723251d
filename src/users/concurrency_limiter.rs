//! Limits the number of concurrent checks to as many as finish within their deadline.
//!
//! On a slow machine, checks that all run at once are all late, and retrying clients keep it so, although a few at a
//! time would finish in time. Therefore the limit adapts: additive increase, multiplicative decrease, as in TCP
//! (Jacobson, "Congestion Avoidance and Control", 1988). One check is always allowed, so the limit can recover from any
//! value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::sync::{Mutex, MutexGuard};

/// Initial limit: the default number of database connections.
const INITIAL_LIMIT: usize = 16;
/// More concurrent checks are not faster: each needs a connection to the reservation store and one of a few to the
/// database.
const MAX_LIMIT: usize = 256;
/// Maximum wait for a permit. Clients give up after a longer wait, and checking their requests would be wasted work.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The limit and the waiting requests.
pub(super) struct ConcurrencyLimiter {
    permits: Arc<Semaphore>,
    limit: Mutex<LimitState>,
    wait: Duration,
    refused: IntCounter,
}

struct LimitState {
    /// Current limit.
    allowed: usize,
    /// Existing permits, including those in use. Follows `allowed` as permits are returned.
    permits: usize,
    /// Number of checks completed in time since the limit changed.
    in_time: usize,
    /// When the limit was last lowered. Checks begun earlier do not count against the new limit.
    lowered: Option<Instant>,
}

/// Permit for one command's checks; returned when dropped.
pub(super) struct CheckPermit {
    limiter: Arc<ConcurrencyLimiter>,
    permit: Option<OwnedSemaphorePermit>,
    began: Instant,
}

impl ConcurrencyLimiter {
    pub fn new(refused: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(INITIAL_LIMIT)),
            limit: Mutex::new(LimitState {
                allowed: INITIAL_LIMIT,
                permits: INITIAL_LIMIT,
                in_time: 0,
                lowered: None,
            }),
            wait: MAX_WAIT,
            refused,
        })
    }

    /// Waits for a permit. `None`: the wait took too long.
    pub async fn acquire(self: &Arc<Self>) -> Option<CheckPermit> {
        let Ok(Ok(permit)) = timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await else {
            self.refused.inc();
            return None;
        };
        Some(CheckPermit { limiter: Arc::clone(self), permit: Some(permit), began: Instant::now() })
    }

    fn limit(&self) -> MutexGuard<'_, LimitState> {
        self.limit.lock()
    }
}

impl CheckPermit {
    /// Reports checks completed in time. The limit grows only if it was reached: otherwise nothing is known about a
    /// higher one.
    pub fn on_success(self) {
        if self.limiter.permits.available_permits() == 0 {
            self.limiter.limit().succeeded();
        }
    }

    /// Reports that the command was rejected because its checks were late.
    pub fn on_timeout(self) {
        self.limiter.limit().failed(self.began, Instant::now());
    }
}

impl Drop for CheckPermit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut limit = self.limiter.limit();
        if limit.permits > limit.allowed {
            limit.permits -= 1;
            permit.forget();
        }
        let missing = limit.allowed.saturating_sub(limit.permits);
        limit.permits += missing;
        self.limiter.permits.add_permits(missing);
    }
}

impl LimitState {
    /// Raises the limit by one per round of successes.
    fn succeeded(&mut self) {
        self.in_time += 1;
        if self.in_time >= self.allowed && self.allowed < MAX_LIMIT {
            self.allowed += 1;
            self.in_time = 0;
        }
    }

    /// Halves the limit, once for all checks that ran at the same time.
    fn failed(&mut self, began: Instant, now: Instant) {
        if self.lowered.is_none_or(|lowered| began >= lowered) {
            self.allowed = (self.allowed / 2).max(1);
            self.in_time = 0;
            self.lowered = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn limiter(wait: Duration) -> Arc<ConcurrencyLimiter> {
        let refused = Registry::new().unwrap().bound_hit("user_checks");
        Arc::new(ConcurrencyLimiter { wait, ..Arc::into_inner(ConcurrencyLimiter::new(refused)).unwrap() })
    }

    async fn all_that_may(limiter: &Arc<ConcurrencyLimiter>) -> Vec<CheckPermit> {
        let mut running = Vec::new();
        while limiter.permits.available_permits() > 0 {
            running.push(limiter.acquire().await.unwrap());
        }
        running
    }

    #[tokio::test]
    async fn concurrent_late_checks_halve_the_limit_once() {
        let limiter = limiter(MAX_WAIT);
        let running = all_that_may(&limiter).await;
        assert_eq!(running.len(), INITIAL_LIMIT);
        running.into_iter().for_each(CheckPermit::on_timeout);
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT / 2);
    }

    #[tokio::test]
    async fn one_check_is_always_allowed_and_the_limit_recovers() {
        let limiter = limiter(MAX_WAIT);
        for _ in 0..20 {
            all_that_may(&limiter).await.into_iter().for_each(CheckPermit::on_timeout);
        }
        for round in 1..=INITIAL_LIMIT * 2 {
            for _ in 0..round {
                let mut running = all_that_may(&limiter).await;
                assert_eq!(running.len(), round);
                running.swap_remove(0).on_success();
            }
        }
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT * 2 + 1);
    }

    #[tokio::test]
    async fn a_limit_that_is_not_reached_does_not_grow() {
        let limiter = limiter(MAX_WAIT);
        for _ in 0..INITIAL_LIMIT * 2 {
            limiter.acquire().await.unwrap().on_success();
        }
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT);
    }

    #[tokio::test]
    async fn a_dropped_check_does_not_change_the_limit() {
        let limiter = limiter(MAX_WAIT);
        drop(all_that_may(&limiter).await);
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT);
    }

    #[tokio::test]
    async fn a_long_wait_for_a_permit_is_rejected_and_counted() {
        let limiter = limiter(Duration::ZERO);
        let running = all_that_may(&limiter).await;
        assert!(limiter.acquire().await.is_none());
        assert_eq!(limiter.refused.get(), 1);
        drop(running);
        assert!(limiter.acquire().await.is_some());
    }
}
