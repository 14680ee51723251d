//! One client of one limiter in this process: its lease, and who waits for it to be filled again.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::kv::{PermitReply, PermitRequest, Rate};
use crate::sync::{Mutex, MutexGuard};

use super::limited::Limited;
use super::permit_lease::{LeaseDecision, PermitLease, RefillAmount};
use super::refill_queue::RefillRequest;
use super::shared_store::SharedStore;

/// Shared by the requests of one client.
pub(super) struct ClientPermits {
    /// Of the shared bucket.
    key: String,
    state: Mutex<State>,
    refilled: Notify,
}

struct State {
    lease: PermitLease,
    is_refilling: bool,
}

/// A refill under way. However it ends, the next one may begin, and requests that wait check the lease again.
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

    /// Takes permits out of the lease. Waits while it is filled, no longer than a call to the store may take; and not
    /// at all while the store is away. `rate`: the limit that holds, if one does. It is asked again after every wait:
    /// requests that went on under different limits would take each other's leases away without end.
    pub async fn take(
        self: &Arc<Self>,
        store: &Arc<SharedStore>,
        rate: impl Fn() -> Option<Rate>,
        count: u64,
    ) -> Result<(), Limited> {
        let mut deadline = None;
        loop {
            let Some(rate) = rate() else { return Ok(()) };
            // Before the look, so that no refill is missed.
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

    /// None: the lease is being filled.
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
                let ask = state.lease.refill_amount(count, now);
                // Its end is noted in the state, too.
                drop(state);
                let is_asked = store.refills().put(self.refill_request(rate, ask)).is_ok();
                (!is_asked).then(|| self.state().lease.decide_locally(rate, count, now))
            }
        }
    }

    /// What fills the lease.
    fn refill_request(self: &Arc<Self>, rate: Rate, ask: RefillAmount) -> RefillRequest {
        let spend = PermitRequest { key: self.key.clone(), rate, required: ask.need, extra: ask.extra };
        let refill = RefillGuard(Arc::clone(self));
        let answered =
            move |spent: PermitReply, now: u64| refill.0.state().lease.refilled(rate, ask, spent, now);
        RefillRequest { spend, on_reply: Box::new(answered) }
    }

    /// Takes one permit out of the shared bucket itself; says whether it was that one that granted it.
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

    /// Puts one permit back where it was taken.
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
