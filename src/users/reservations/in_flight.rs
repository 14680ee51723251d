//! Requests of this process between their checks and the flush, by the keys they reserve.
//!
//! A repetition of a registration waits here for the flush of the first one. Any other request that wants the same key
//! waits too, and is refused if the first one was accepted. An entry lives as long as its request: dropping its guard
//! removes it, however the request ends.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::key::ReservationKey;
use crate::ingest::Receipt;
use crate::sync::{Mutex, MutexGuard};

/// One request under way.
pub(in crate::users) struct InFlightRequest {
    pub claim: [u8; 16],
    keys: Vec<ReservationKey>,
    completion: watch::Sender<RequestCompletion>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(in crate::users) enum RequestCompletion {
    Pending,
    Accepted(Receipt),
    /// Refused, or nobody waits for it any more.
    Failed,
}

#[derive(Default)]
pub(in crate::users) struct InFlightRequests(Mutex<HashMap<String, Arc<InFlightRequest>>>);

/// An entry of the table; removed when dropped.
pub(in crate::users) struct InFlightGuard {
    in_flight: Arc<InFlightRequests>,
    request: Arc<InFlightRequest>,
}

/// Who has what a request wants.
pub(in crate::users) struct RequestConflict {
    pub field: &'static str,
    /// Whether it is the same request once more.
    pub same: bool,
    pub other: Arc<InFlightRequest>,
}

impl InFlightRequests {
    /// Enters a request under every marker it wants, or says who is there. What the same user's other command wants
    /// too is left to it: commands of one user keep their order.
    pub fn register(
        self: &Arc<Self>,
        wanted: &[ReservationKey],
        claim: [u8; 16],
    ) -> Result<InFlightGuard, RequestConflict> {
        let mut table = self.table();
        for one in wanted {
            let Some(with) = table.get(&one.key) else { continue };
            let theirs = with.keys.iter().find(|theirs| theirs.key == one.key);
            let same = theirs.is_some_and(|theirs| theirs.digest == one.digest);
            if one.is_name() || !same {
                return Err(RequestConflict { field: one.field, same, other: Arc::clone(with) });
            }
        }
        let (completion, _) = watch::channel(RequestCompletion::Pending);
        let request = Arc::new(InFlightRequest { claim, keys: wanted.to_vec(), completion });
        for one in wanted {
            table.entry(one.key.clone()).or_insert_with(|| Arc::clone(&request));
        }
        Ok(InFlightGuard { in_flight: Arc::clone(self), request })
    }

    /// The request that set this marker, if it is under way here.
    pub fn find(&self, key: &str, claim: &[u8; 16]) -> Option<Arc<InFlightRequest>> {
        self.table().get(key).filter(|request| request.claim == *claim).map(Arc::clone)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<InFlightRequest>>> {
        self.0.lock()
    }
}

impl InFlightRequest {
    /// The receipt, once there is one; none when the request ended without. The wait is bounded by the request's own.
    pub async fn receipt(&self) -> Option<Receipt> {
        let mut completion = self.completion.subscribe();
        let ended =
            completion.wait_for(|completion| !matches!(completion, RequestCompletion::Pending)).await.ok()?;
        match &*ended {
            RequestCompletion::Accepted(receipt) => Some(receipt.clone()),
            _ => None,
        }
    }
}

impl InFlightGuard {
    /// Tells those who wait for the same.
    pub fn on_accepted(&self, receipt: &Receipt) {
        self.request.completion.send_replace(RequestCompletion::Accepted(receipt.clone()));
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut table = self.in_flight.table();
        for one in &self.request.keys {
            if table.get(&one.key).is_some_and(|there| Arc::ptr_eq(there, &self.request)) {
                table.remove(&one.key);
            }
        }
        drop(table);
        self.request.completion.send_if_modified(|completion| {
            let open = matches!(completion, RequestCompletion::Pending);
            if open {
                *completion = RequestCompletion::Failed;
            }
            open
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(field: &'static str, key: &str, digest: u8) -> ReservationKey {
        ReservationKey { field, key: key.to_owned(), digest: [digest; 16] }
    }

    fn receipt() -> Receipt {
        Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: false }
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_first_ones_receipt() {
        let in_flight = Arc::<InFlightRequests>::default();
        let guard = in_flight.register(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = in_flight.register(&[wanted("name", "n:ada", 1)], [2; 16]).err().unwrap();
        assert!(second.same);
        let (waited, ()) = tokio::join!(second.other.receipt(), async { guard.on_accepted(&receipt()) });
        assert_eq!(waited, Some(receipt()));
    }

    #[tokio::test]
    async fn who_waits_for_a_flight_that_fails_is_told() {
        let in_flight = Arc::<InFlightRequests>::default();
        let guard = in_flight.register(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = in_flight.register(&[wanted("name", "n:ada", 2)], [2; 16]).err().unwrap();
        assert!(!second.same);
        drop(guard);
        assert_eq!(second.other.receipt().await, None);
        assert!(
            in_flight.register(&[wanted("name", "n:ada", 2)], [2; 16]).is_ok(),
            "the place is free again"
        );
    }

    #[test]
    fn an_address_is_refused_to_others_and_shared_with_the_same_user() {
        let in_flight = Arc::<InFlightRequests>::default();
        let first = in_flight.register(&[wanted("email", "e:x", 1)], [1; 16]).ok().unwrap();
        assert_eq!(in_flight.register(&[wanted("email", "e:x", 2)], [2; 16]).err().unwrap().field, "email");
        let second = in_flight.register(&[wanted("email", "e:x", 1)], [3; 16]).ok().unwrap();
        drop(second);
        assert!(in_flight.find("e:x", &[1; 16]).is_some(), "what the first one holds stays its own");
        drop(first);
        assert!(in_flight.table().is_empty());
    }
}
