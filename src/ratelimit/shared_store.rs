//! The shared store, and its availability.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::kv::{Kv, KvError, PermitReply, PermitRequest, Rate};

use super::metrics::Metrics;
use super::refill_queue::RefillQueue;

/// Time between two probes of an unavailable store. Most of them cost nothing: the store's circuit breaker refuses
/// them.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// Bucket of the probe. The probe uses the same operation as requests, with a need of zero permits.
const PROBE_KEY: &str = "forebay:ratelimit:look";
const PROBE_RATE: Rate = Rate { limit: 1, window: Duration::from_millis(1) };

/// The store and its availability. While it is unavailable, only a probe calls it, and no request waits for it.
pub(super) struct SharedStore {
    kv: Option<Kv>,
    timeout: Duration,
    is_unavailable: AtomicBool,
    became_unavailable: Notify,
    /// Requests to refill leases.
    refills: RefillQueue,
    /// 1 while each daemon counts alone.
    fallback: IntGauge,
    begun: Instant,
}

impl SharedStore {
    /// `timeout` is the maximum wait of a request.
    pub fn new(kv: Option<Kv>, timeout: Duration, metrics: &Metrics) -> Self {
        let is_away = kv.is_none();
        let fallback = metrics.fallback.clone();
        fallback.set(is_away.into());
        let refills = RefillQueue::new(metrics.questions_hit.clone());
        let (is_away, went_away) = (AtomicBool::new(is_away), Notify::new());
        Self {
            kv,
            timeout,
            is_unavailable: is_away,
            became_unavailable: went_away,
            refills,
            fallback,
            begun: Instant::now(),
        }
    }

    pub fn kv(&self) -> Option<&Kv> {
        self.kv.as_ref()
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn refills(&self) -> &RefillQueue {
        &self.refills
    }

    pub fn is_unavailable(&self) -> bool {
        self.is_unavailable.load(Ordering::Relaxed)
    }

    /// Microseconds of this process's own clock.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// `None` if the store is unavailable.
    pub async fn spend_one(&self, key: &str, rate: Rate) -> Option<PermitReply> {
        let spent = self.kv.as_ref()?.take_permits(key, rate, 1, 0).await;
        spent.map_err(|error| self.failed(&error)).ok()
    }

    /// Does the same for many requests; the replies are in order.
    pub async fn spend_all(&self, calls: &[PermitRequest]) -> Option<Vec<PermitReply>> {
        let spent = self.kv.as_ref()?.take_all_permits(calls).await;
        spent.map_err(|error| self.failed(&error)).ok()
    }

    /// Returns permits. Permits that cannot be returned come back with time.
    pub async fn give_back(&self, key: &str, rate: Rate, count: u64) {
        let Some(kv) = self.kv.as_ref().filter(|_| !self.is_unavailable()) else { return };
        if let Err(error) = kv.return_permits(key, rate, count).await {
            self.failed(&error);
        }
    }

    /// Sends the queued requests, call after call.
    pub async fn run_refills(&self) {
        loop {
            let requests = self.refills.next().await;
            let (calls, on_replies): (Vec<_>, Vec<_>) =
                requests.into_iter().map(|request| (request.spend, request.on_reply)).unzip();
            // Clients that wait for a failed call are released at once.
            let replies = match self.is_unavailable() {
                true => None,
                false => self.spend_all(&calls).await,
            };
            for (on_reply, spent) in on_replies.into_iter().zip(replies.unwrap_or_default()) {
                on_reply(spent, self.now());
            }
        }
    }

    fn failed(&self, error: &KvError) {
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "ratelimit.fallback",
                %error,
                "shared counts are unavailable; this daemon counts alone"
            );
        }
        self.fallback.set(1);
        self.became_unavailable.notify_one();
    }

    /// Probes the store while it is unavailable.
    pub async fn watch(&self) {
        let Some(kv) = &self.kv else { return };
        loop {
            self.became_unavailable.notified().await;
            while self.is_unavailable() {
                tokio::time::sleep(PROBE_INTERVAL).await;
                if kv.take_permits(PROBE_KEY, PROBE_RATE, 0, 0).await.is_ok() {
                    tracing::info!(event = "ratelimit.shared", "the shared counts are available again");
                    self.is_unavailable.store(false, Ordering::Relaxed);
                    self.fallback.set(0);
                }
            }
        }
    }
}
