//! Where daemons count together, and what is known of whether it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::kv::{Kv, KvError, PermitReply, PermitRequest, Rate};

use super::metrics::Metrics;
use super::refill_queue::RefillQueue;

/// Between two looks at a store that is away. Most of them cost nothing: the store's own breaker refuses them.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// A look is a question to a bucket, as what is asked then. It asks for nothing.
const PROBE_KEY: &str = "forebay:ratelimit:look";
const PROBE_RATE: Rate = Rate { limit: 1, window: Duration::from_millis(1) };

/// The store, and whether it is away: then nobody asks it, and nobody waits for it, but one who looks.
pub(super) struct SharedStore {
    kv: Option<Kv>,
    timeout: Duration,
    is_unavailable: AtomicBool,
    became_unavailable: Notify,
    /// Of leases that are to be filled.
    refills: RefillQueue,
    /// 1 while every daemon counts for itself.
    fallback: IntGauge,
    begun: Instant,
}

impl SharedStore {
    /// `timeout`: nobody waits longer.
    pub fn new(kv: Option<Kv>, timeout: Duration, metrics: &Metrics) -> Self {
        let is_away = kv.is_none();
        let fallback = metrics.fallback.clone();
        fallback.set(is_away.into());
        let questions = RefillQueue::new(metrics.questions_hit.clone());
        let (is_away, went_away) = (AtomicBool::new(is_away), Notify::new());
        Self {
            kv,
            timeout,
            is_unavailable: is_away,
            became_unavailable: went_away,
            refills: questions,
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

    /// None: it is away.
    pub async fn spend_one(&self, key: &str, rate: Rate) -> Option<PermitReply> {
        let spent = self.kv.as_ref()?.take_permits(key, rate, 1, 0).await;
        spent.map_err(|error| self.failed(&error)).ok()
    }

    /// The same for many; their answers in order.
    pub async fn spend_all(&self, calls: &[PermitRequest]) -> Option<Vec<PermitReply>> {
        let spent = self.kv.as_ref()?.take_all_permits(calls).await;
        spent.map_err(|error| self.failed(&error)).ok()
    }

    /// What is not given back comes back with time.
    pub async fn give_back(&self, key: &str, rate: Rate, count: u64) {
        let Some(kv) = self.kv.as_ref().filter(|_| !self.is_unavailable()) else { return };
        if let Err(error) = kv.return_permits(key, rate, count).await {
            self.failed(&error);
        }
    }

    /// Asks what was put into the queue, call after call.
    pub async fn run_refills(&self) {
        loop {
            let questions = self.refills.next().await;
            let (calls, answered): (Vec<_>, Vec<_>) =
                questions.into_iter().map(|question| (question.spend, question.on_reply)).unzip();
            // Clients that wait behind a call that failed are released at once.
            let answers = match self.is_unavailable() {
                true => None,
                false => self.spend_all(&calls).await,
            };
            for (answered, spent) in answered.into_iter().zip(answers.unwrap_or_default()) {
                answered(spent, self.now());
            }
        }
    }

    fn failed(&self, error: &KvError) {
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "ratelimit.fallback",
                %error,
                "shared counts are unavailable; each daemon counts alone"
            );
        }
        self.fallback.set(1);
        self.became_unavailable.notify_one();
    }

    /// Whenever it is away: looks until it is back.
    pub async fn watch(&self) {
        let Some(kv) = &self.kv else { return };
        loop {
            self.became_unavailable.notified().await;
            while self.is_unavailable() {
                tokio::time::sleep(PROBE_INTERVAL).await;
                if kv.take_permits(PROBE_KEY, PROBE_RATE, 0, 0).await.is_ok() {
                    tracing::info!(event = "ratelimit.shared", "daemons share their counts again");
                    self.is_unavailable.store(false, Ordering::Relaxed);
                    self.fallback.set(0);
                }
            }
        }
    }
}
