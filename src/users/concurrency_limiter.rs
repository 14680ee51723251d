//! How many commands are checked at a time: as many as finish within their deadline.
//!
//! On a slow machine checks that all run at once are all late, and clients that ask again keep it so, although few at a
//! time would have been in time. So the limit adapts: additive increase, multiplicative decrease, as in TCP (Jacobson,
//! "Congestion Avoidance and Control", 1988). One is always let through; the limit can recover from any value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::sync::{Mutex, MutexGuard};

/// At the start: as many as the database has connections by default.
const INITIAL_LIMIT: usize = 16;
/// More are not faster: each asks one connection to the marker store and one of a few to the database.
const MAX_LIMIT: usize = 256;
/// A command that has waited so long is refused: a client that gets no answer for longer gives up, and checking its
/// request is work for nothing.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The limit, and who waits for it.
pub(super) struct ConcurrencyLimiter {
    permits: Arc<Semaphore>,
    limit: Mutex<LimitState>,
    wait: Duration,
    refused: IntCounter,
}

struct LimitState {
    /// How many may run.
    allowed: usize,
    /// Permits that exist, with whoever has one: follows `allowed` as permits come back.
    permits: usize,
    /// In time since the limit last changed.
    in_time: usize,
    /// When it was last lowered: what began before that says nothing about the new one.
    lowered: Option<Instant>,
}

/// Permit to run one command's checks; given back when dropped.
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

    /// Waits for its turn. `None`: there are too many before it.
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
    /// The checks were done within their time. Only a limit that was reached grows: others say nothing of what more would
    /// take.
    pub fn on_success(self) {
        if self.limiter.permits.available_permits() == 0 {
            self.limiter.limit().succeeded();
        }
    }

    /// The command was refused because they were not.
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
    /// One more for each round of successes.
    fn succeeded(&mut self) {
        self.in_time += 1;
        if self.in_time >= self.allowed && self.allowed < MAX_LIMIT {
            self.allowed += 1;
            self.in_time = 0;
        }
    }

    /// Half as many, once for all that ran at the same time.
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
    async fn those_that_are_late_together_halve_the_limit_once() {
        let limiter = limiter(MAX_WAIT);
        let running = all_that_may(&limiter).await;
        assert_eq!(running.len(), INITIAL_LIMIT);
        running.into_iter().for_each(CheckPermit::on_timeout);
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT / 2);
    }

    #[tokio::test]
    async fn one_is_let_through_whatever_was_late_and_the_limit_grows_again() {
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
    async fn a_check_that_is_dropped_leaves_the_limit_as_it_is() {
        let limiter = limiter(MAX_WAIT);
        drop(all_that_may(&limiter).await);
        assert_eq!(all_that_may(&limiter).await.len(), INITIAL_LIMIT);
    }

    #[tokio::test]
    async fn a_wait_that_takes_too_long_is_refused_and_counted() {
        let limiter = limiter(Duration::ZERO);
        let running = all_that_may(&limiter).await;
        assert!(limiter.acquire().await.is_none());
        assert_eq!(limiter.refused.get(), 1);
        drop(running);
        assert!(limiter.acquire().await.is_some());
    }
}
