//! Commands of this process that are between the door and the flush, by the markers they want.
//!
//! A registration that meets its own repetition here lets it wait for the first one's flush; anything else that
//! wants the same waits for it too, and is refused if it was accepted. An entry lives as long as its request: dropping it clears it, however the request ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::watch;

use super::pending::Wanted;
use crate::ingest::Receipt;

/// One request under way.
pub(super) struct Flight {
    pub claim: [u8; 16],
    wanted: Vec<Wanted>,
    landing: watch::Sender<Landing>,
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    UnderWay,
    Accepted(Receipt),
    /// Refused, or nobody waits for it any more.
    Over,
}

#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// A seat in the table; given back when dropped.
pub(super) struct Seat {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

/// Who has what a request wants.
pub(super) struct Collision {
    pub field: &'static str,
    /// Whether it is the same request once more.
    pub same: bool,
    pub with: Arc<Flight>,
}

impl Flights {
    /// Enters a request under every marker it wants, or says who is there. What the same user's other command wants
    /// too is left to it: commands of one user keep their order.
    pub fn enter(self: &Arc<Self>, wanted: &[Wanted], claim: [u8; 16]) -> Result<Seat, Collision> {
        let mut table = self.table();
        for one in wanted {
            let Some(with) = table.get(&one.key) else { continue };
            let theirs = with.wanted.iter().find(|theirs| theirs.key == one.key);
            let same = theirs.is_some_and(|theirs| theirs.digest == one.digest);
            if one.is_name() || !same {
                return Err(Collision { field: one.field, same, with: Arc::clone(with) });
            }
        }
        let (landing, _) = watch::channel(Landing::UnderWay);
        let flight = Arc::new(Flight { claim, wanted: wanted.to_vec(), landing });
        for one in wanted {
            table.entry(one.key.clone()).or_insert_with(|| Arc::clone(&flight));
        }
        Ok(Seat { flights: Arc::clone(self), flight })
    }

    /// The flight that set this marker, if it is under way here.
    pub fn find(&self, key: &str, claim: &[u8; 16]) -> Option<Arc<Flight>> {
        self.table().get(key).filter(|flight| flight.claim == *claim).map(Arc::clone)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The receipt, once there is one; none when the flight ended without. The wait is bounded by the flight's own.
    pub async fn receipt(&self) -> Option<Receipt> {
        let mut landing = self.landing.subscribe();
        let ended = landing.wait_for(|landing| !matches!(landing, Landing::UnderWay)).await.ok()?;
        match &*ended {
            Landing::Accepted(receipt) => Some(receipt.clone()),
            _ => None,
        }
    }
}

impl Seat {
    /// Tells those who wait for the same.
    pub fn accepted(&self, receipt: &Receipt) {
        self.flight.landing.send_replace(Landing::Accepted(receipt.clone()));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.flights.table();
        for one in &self.flight.wanted {
            if table.get(&one.key).is_some_and(|there| Arc::ptr_eq(there, &self.flight)) {
                table.remove(&one.key);
            }
        }
        drop(table);
        self.flight.landing.send_if_modified(|landing| {
            let open = matches!(landing, Landing::UnderWay);
            if open {
                *landing = Landing::Over;
            }
            open
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(field: &'static str, key: &str, digest: u8) -> Wanted {
        Wanted { field, key: key.to_owned(), digest: [digest; 16] }
    }

    fn receipt() -> Receipt {
        Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: false }
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_first_ones_receipt() {
        let flights = Arc::<Flights>::default();
        let seat = flights.enter(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = flights.enter(&[wanted("name", "n:ada", 1)], [2; 16]).err().unwrap();
        assert!(second.same);
        let (waited, ()) = tokio::join!(second.with.receipt(), async { seat.accepted(&receipt()) });
        assert_eq!(waited, Some(receipt()));
    }

    #[tokio::test]
    async fn who_waits_for_a_flight_that_fails_is_told() {
        let flights = Arc::<Flights>::default();
        let seat = flights.enter(&[wanted("name", "n:ada", 1)], [1; 16]).ok().unwrap();
        let second = flights.enter(&[wanted("name", "n:ada", 2)], [2; 16]).err().unwrap();
        assert!(!second.same);
        drop(seat);
        assert_eq!(second.with.receipt().await, None);
        assert!(flights.enter(&[wanted("name", "n:ada", 2)], [2; 16]).is_ok(), "the place is free again");
    }

    #[test]
    fn an_address_is_refused_to_others_and_shared_with_the_same_user() {
        let flights = Arc::<Flights>::default();
        let first = flights.enter(&[wanted("email", "e:x", 1)], [1; 16]).ok().unwrap();
        assert_eq!(flights.enter(&[wanted("email", "e:x", 2)], [2; 16]).err().unwrap().field, "email");
        let second = flights.enter(&[wanted("email", "e:x", 1)], [3; 16]).ok().unwrap();
        drop(second);
        assert!(flights.find("e:x", &[1; 16]).is_some(), "what the first one holds stays its own");
        drop(first);
        assert!(flights.table().is_empty());
    }
}
