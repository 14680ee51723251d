//! One client of one limiter in this process: its lease, and the requests that wait for a refill.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::kv::{PermitReply, PermitRequest, Rate};
use crate::sync::{Mutex, MutexGuard};

use super::limited::Limited;
use super::permit_lease::{LeaseDecision, PermitLease, RefillAmount};
use super::refill_queue::RefillRequest;
use super::shared_store::SharedStore;

/// Permits of one client, shared by its requests.
pub(super) struct ClientPermits {
    /// Key of the shared bucket.
    key: String,
    state: Mutex<State>,
    refilled: Notify,
}

struct State {
    lease: PermitLease,
    is_refilling: bool,
}

/// A refill in progress. However it ends, the next one may begin, and waiting requests check the lease again.
struct RefillGuard(Arc<ClientPermits>);

impl Drop for RefillGuard {
    fn drop(&mut self) {
        self.0.state().is_refilling = false;
        self.0.refilled.notify_waiters();
    }
}

impl ClientPermits {
    pub fn new(key: String, rate: Rate) -> Self {
        let state = State { lease: PermitLease::new(rate), is_refilling: false };
        Self { key, state: Mutex::new(state), refilled: Notify::new() }
    }

    /// Takes permits from the lease. While the lease is being refilled it waits, at most for the timeout of a store
    /// call. It does not wait while the store is unavailable. `rate` returns the current limit, if one applies. It is
    /// called again after every wait: requests that continued under different limits would replace each other's leases
    /// without end.
    pub async fn take(
        self: &Arc<Self>,
        store: &Arc<SharedStore>,
        rate: impl Fn() -> Option<Rate>,
        count: u64,
    ) -> Result<(), Limited> {
        let mut deadline = None;
        loop {
            let Some(rate) = rate() else { return Ok(()) };
            // Before the check, so that no refill is missed.
            let refilled = self.refilled.notified();
            if let Some(decided) = self.try_take(store, rate, count) {
                return decided;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + store.timeout());
            if timeout_at(deadline, refilled).await.is_err() {
                return self.state().lease.decide_locally(rate, count, store.now());
            }
        }
    }

    /// `None` while the lease is being refilled.
    fn try_take(
        self: &Arc<Self>,
        store: &Arc<SharedStore>,
        rate: Rate,
        count: u64,
    ) -> Option<Result<(), Limited>> {
        let now = store.now();
        let mut state = self.state();
        match state.lease.take(rate, count, now) {
            LeaseDecision::Granted => Some(Ok(())),
            LeaseDecision::Refused(limited) => Some(Err(limited)),
            LeaseDecision::Insufficient if store.is_unavailable() => {
                Some(state.lease.decide_locally(rate, count, now))
            }
            LeaseDecision::Insufficient if state.is_refilling => None,
            LeaseDecision::Insufficient => {
                state.is_refilling = true;
                let amount = state.lease.refill_amount(count, now);
                // Its end is recorded in the state, too.
                drop(state);
                let is_queued = store.refills().put(self.refill_request(rate, amount)).is_ok();
                (!is_queued).then(|| self.state().lease.decide_locally(rate, count, now))
            }
        }
    }

    /// The request that refills the lease.
    fn refill_request(self: &Arc<Self>, rate: Rate, amount: RefillAmount) -> RefillRequest {
        let spend = PermitRequest { key: self.key.clone(), rate, required: amount.need, extra: amount.extra };
        let refill = RefillGuard(Arc::clone(self));
        let on_reply =
            move |spent: PermitReply, now: u64| refill.0.state().lease.refilled(rate, amount, spent, now);
        RefillRequest { spend, on_reply: Box::new(on_reply) }
    }

    /// Takes one permit from the shared bucket directly. Returns whether the shared bucket granted it.
    pub async fn take_exactly(&self, store: &SharedStore, rate: Rate) -> Result<bool, Limited> {
        if !store.is_unavailable()
            && let Some(spent) = store.spend_one(&self.key, rate).await
        {
            if spent.granted == 0 {
                return Err(Limited::after(spent.retry_after));
            }
            self.state().lease.record(rate, 1, store.now());
            return Ok(true);
        }
        self.state().lease.decide_locally(rate, 1, store.now()).map(|()| false)
    }

    /// Returns one permit to where it was taken.
    pub async fn give_back(&self, store: &SharedStore, rate: Rate, is_shared: bool) {
        self.state().lease.give_back(rate, 1, store.now());
        if is_shared {
            store.give_back(&self.key, rate, 1).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
