//! Requests of this process between their checks and the flush, by the keys they reserve.
//!
//! A repetition of a registration waits here for the flush of the first request. Any other request for the same key
//! waits too, and is rejected if the first is accepted. An entry lives as long as its request: dropping its guard
//! removes the entry.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::key::ReservationKey;
use crate::ingest::Receipt;
use crate::sync::{Mutex, MutexGuard};

/// One request in flight.
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
    /// Rejected or abandoned.
    Failed,
}

#[derive(Default)]
pub(in crate::users) struct InFlightRequests(Mutex<HashMap<String, Arc<InFlightRequest>>>);

/// An entry of the table; removed when dropped.
pub(in crate::users) struct InFlightGuard {
    in_flight: Arc<InFlightRequests>,
    request: Arc<InFlightRequest>,
}

/// The request that already holds a key.
pub(in crate::users) struct RequestConflict {
    pub field: &'static str,
    /// Whether it is the same request, repeated.
    pub same: bool,
    pub other: Arc<InFlightRequest>,
}

impl InFlightRequests {
    /// Registers a request under every key it wants, or returns the request that holds one. Keys held by another
    /// command of the same user are no conflict: commands of one user keep their order.
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

    /// The request with this claim, if it is in flight in this process.
    pub fn find(&self, key: &str, claim: &[u8; 16]) -> Option<Arc<InFlightRequest>> {
        self.table().get(key).filter(|request| request.claim == *claim).map(Arc::clone)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<InFlightRequest>>> {
        self.0.lock()
    }
}

impl InFlightRequest {
    /// Waits for the receipt; `None` if the request ended without one. The wait is bounded by the request's own
    /// timeouts.
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
    /// Notifies the requests that wait for the same key.
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
    async fn a_repetition_waits_for_the_first_receipt() {
        let in_flight = Arc::<InFlightRequests>::default();
        let guard = in_flight.register(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = in_flight.register(&[wanted("name", "n:ada", 1)], [2; 16]).err().unwrap();
        assert!(second.same);
        let (waited, ()) = tokio::join!(second.other.receipt(), async { guard.on_accepted(&receipt()) });
        assert_eq!(waited, Some(receipt()));
    }

    #[tokio::test]
    async fn a_failed_request_notifies_its_waiting_repetition() {
        let in_flight = Arc::<InFlightRequests>::default();
        let guard = in_flight.register(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = in_flight.register(&[wanted("name", "n:ada", 2)], [2; 16]).err().unwrap();
        assert!(!second.same);
        drop(guard);
        assert_eq!(second.other.receipt().await, None);
        assert!(in_flight.register(&[wanted("name", "n:ada", 2)], [2; 16]).is_ok(), "the key is free again");
    }

    #[test]
    fn an_address_in_flight_is_reserved_for_one_user() {
        let in_flight = Arc::<InFlightRequests>::default();
        let first = in_flight.register(&[wanted("email", "e:x", 1)], [1; 16]).ok().unwrap();
        assert_eq!(in_flight.register(&[wanted("email", "e:x", 2)], [2; 16]).err().unwrap().field, "email");
        let second = in_flight.register(&[wanted("email", "e:x", 1)], [3; 16]).ok().unwrap();
        drop(second);
        assert!(in_flight.find("e:x", &[1; 16]).is_some(), "the first request keeps its key");
        drop(first);
        assert!(in_flight.table().is_empty());
    }
}
