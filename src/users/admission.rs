//! Checks of a command before it is accepted: requests in flight in this process, reservations, then the database.
//!
//! The order matters: a command that was applied before the reservations were stored is visible to the database query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use super::reservations::{
    InFlightRequest, ReservationGuard, ReservationKey, ReserveOutcome, StoredReservations,
};
use super::{UserError, Users};
use crate::db::Holder;
use crate::ingest::Receipt;
use crate::kv::{KvError, reservation_marker};

/// Timeout of a request that waits for its own repetition: enough for one flush and one hash.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of the checks.
pub(super) enum Admitted {
    New(ReservationGuard),
    /// An earlier request was the same.
    Repeat(Receipt),
}

impl Users {
    /// The reservations of a command: for the name if it is a registration, and for a new address and number.
    pub(super) async fn reservation_keys(
        &self,
        name: &str,
        fingerprint: Option<[u8; 16]>,
        email: Option<&str>,
        phone: Option<&str>,
    ) -> Vec<ReservationKey> {
        let owner = self.digest(&[b"owner", name.as_bytes()]).await;
        let marker = |field, key, digest| ReservationKey { field, key, digest };
        let name = fingerprint.map(|digest| marker("name", reservation_marker::name_key(name), digest));
        let email = email.map(|email| marker("email", reservation_marker::email_key(email), owner));
        let phone = phone.map(|phone| marker("phone", reservation_marker::phone_key(phone), owner));
        name.into_iter().chain(email).chain(phone).collect()
    }

    pub(super) async fn check(
        &self,
        wanted: Vec<ReservationKey>,
        name: &str,
        email: Option<&str>,
        phone: Option<&str>,
        new: bool,
    ) -> Result<Admitted, UserError> {
        let claim = self.reservations.instance.new_claim();
        let guard = match self.reservations.in_flight.register(&wanted, claim) {
            Ok(guard) => guard,
            Err(conflict) if conflict.same => return self.wait_for_repeat(&conflict.other).await,
            Err(conflict) => {
                let refusal = self.conflict_error(&conflict.other, conflict.field);
                // Rejected without reading the reservations; those left over from a crash of this request are removed
                // anyway.
                let keys = wanted.iter().map(|one| one.key.clone()).collect();
                return Err(tokio::join!(refusal, self.reservations.remove_orphans(keys)).0);
            }
        };
        let mut reservation = ReservationGuard { keys: wanted.into(), claim, guard, stored: None };
        if reservation.keys.is_empty() {
            return Ok(Admitted::New(reservation));
        }
        let running = self.concurrency.acquire().await.ok_or(UserError::Overloaded)?;
        let deadline = Instant::now() + self.config.check_timeout.0;
        let claimed = self.reserve(&mut reservation, deadline).await;
        let free = match &claimed {
            Ok(ReserveOutcome::Reserved) => self.check_database(name, email, phone, new, deadline).await,
            _ => Ok(()),
        };
        match claimed.is_ok() && free.is_ok() {
            true => running.on_success(),
            false if Instant::now() >= deadline => running.on_timeout(),
            // A fast failure is no measure of the acceptable concurrency.
            false => drop(running),
        }
        match claimed? {
            ReserveOutcome::Reserved => {}
            ReserveOutcome::InFlight(request) => return self.wait_for_repeat(&request).await,
            ReserveOutcome::Repeat(receipt, _) => return Ok(Admitted::Repeat(receipt)),
            ReserveOutcome::InFlightConflict(request, field) => {
                return Err(self.conflict_error(&request, field).await);
            }
            ReserveOutcome::Taken(field) => return Err(UserError::Taken(field)),
            ReserveOutcome::Undecided => return Err(UserError::InProgress),
        }
        match free {
            Ok(()) => Ok(Admitted::New(reservation)),
            Err(refusal) => {
                reservation.release().await;
                Err(refusal)
            }
        }
    }

    async fn reserve(
        &self,
        reservation: &mut ReservationGuard,
        deadline: Instant,
    ) -> Result<ReserveOutcome, UserError> {
        let _step = self.step("users.markers");
        let (claim, wanted) = (reservation.claim, Arc::clone(&reservation.keys));
        let (reservations, tasks) = (Arc::clone(&self.reservations), Arc::downgrade(&self.tasks));
        // A reservation stored after the timeout is released only after its request completes: on a busy machine, a
        // release could overtake the reservation.
        let claiming = self.tasks.begin(async move {
            let claimed = reservations.reserve(&wanted, claim).await?;
            let ours = matches!(claimed, ReserveOutcome::Reserved);
            Ok::<_, KvError>((
                claimed,
                ours.then(|| StoredReservations::new(wanted, claim, reservations, tasks)),
            ))
        });
        match timeout_at(deadline.into(), claiming).await {
            Ok(Ok(Ok((claimed, stored)))) => {
                reservation.stored = stored;
                Ok(claimed)
            }
            _ if self.degrades_without_markers() => Ok(ReserveOutcome::Reserved),
            _ => Err(UserError::ReservationStore),
        }
    }

    async fn check_database(
        &self,
        name: &str,
        email: Option<&str>,
        phone: Option<&str>,
        new: bool,
        deadline: Instant,
    ) -> Result<(), UserError> {
        let _step = self.step("users.database");
        let asked = self.find_holders(new.then_some(name), email, phone);
        match timeout_at(deadline.into(), asked).await {
            Ok(Ok(holders)) => check_holders(&holders, name, email, phone, new),
            _ if self.accepts_without_database() => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(UserError::Database),
        }
    }

    /// The users that hold the requested values.
    async fn find_holders(
        &self,
        name: Option<&str>,
        email: Option<&str>,
        phone: Option<&str>,
    ) -> Result<Vec<Holder>, UserError> {
        let permit = self.query_permit().await?;
        let [name, email, phone] = [name, email, phone].map(|text| text.map(str::to_owned));
        let db = self.db.clone();
        let asked = async move { db.holders(name.as_deref(), email.as_deref(), phone.as_deref()).await };
        Ok(self.run_to_completion(permit, asked).await.ok_or(UserError::Database)??)
    }

    /// Completes a database query even if its caller gives up. Otherwise its connection would be closed, and a slow
    /// database would get a stream of new connections. The number of such queries is limited by the permits, and each
    /// ends with the statement timeout. `None`: the query panicked.
    pub(super) async fn run_to_completion<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        asked: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let answered = self.tasks.begin(async move {
            let _permit = permit;
            asked.await
        });
        answered.await.ok()
    }

    /// A permit for one query. While the database is unavailable, no request waits for a permit.
    async fn query_permit(&self) -> Result<OwnedSemaphorePermit, UserError> {
        let questions = Arc::clone(&self.query_permits);
        match Arc::clone(&questions).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) if self.db.is_open() => Err(UserError::Database),
            Err(_) => questions.acquire_owned().await.map_err(|_| UserError::Database),
        }
    }

    /// Waits for the receipt of the earlier, equal request.
    async fn wait_for_repeat(&self, request: &InFlightRequest) -> Result<Admitted, UserError> {
        match tokio::time::timeout(REPEAT_TIMEOUT, request.receipt()).await {
            Ok(Some(receipt)) => Ok(Admitted::Repeat(Receipt { replayed: true, ..receipt })),
            // The earlier request failed or its client disconnected. The client may retry.
            _ => Err(UserError::InProgress),
        }
    }

    /// Waits for an earlier request of another user: the value is taken if that request is accepted.
    async fn conflict_error(&self, request: &InFlightRequest, field: &'static str) -> UserError {
        match tokio::time::timeout(REPEAT_TIMEOUT, request.receipt()).await {
            Ok(Some(_)) => UserError::Taken(field),
            _ => UserError::InProgress,
        }
    }
}

/// Checks that no other user holds the requested values. Reports the name first, then the address.
fn check_holders(
    holders: &[Holder],
    name: &str,
    email: Option<&str>,
    phone: Option<&str>,
    new: bool,
) -> Result<(), UserError> {
    let others = || holders.iter().filter(|holder| new || holder.name != name);
    if new && holders.iter().any(|holder| holder.name == name) {
        return Err(UserError::Taken("name"));
    }
    if email.is_some() && others().any(|holder| holder.email.as_deref() == email) {
        return Err(UserError::Taken("email"));
    }
    if phone.is_some() && others().any(|holder| holder.phone.as_deref() == phone) {
        return Err(UserError::Taken("phone"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str, email: &str, phone: &str) -> Holder {
        Holder { name: name.to_owned(), email: Some(email.to_owned()), phone: Some(phone.to_owned()) }
    }

    fn refused(holders: &[Holder], name: &str, email: &str, phone: &str, new: bool) -> Option<&'static str> {
        match check_holders(holders, name, Some(email), Some(phone), new) {
            Ok(()) => None,
            Err(UserError::Taken(field)) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_new_user_needs_free_values_and_others_keep_theirs() {
        let there = [holder("ada", "a@x.org", "11111")];
        assert_eq!(refused(&there, "ada", "a@x.org", "11111", true), Some("name"));
        assert_eq!(refused(&there, "bob", "a@x.org", "11111", true), Some("email"));
        assert_eq!(refused(&there, "bob", "b@x.org", "11111", true), Some("phone"));
        assert_eq!(refused(&there, "ada", "a@x.org", "11111", false), None);
        assert_eq!(refused(&there, "bob", "b@x.org", "11111", false), Some("phone"));
        assert_eq!(refused(&[], "ada", "a@x.org", "11111", true), None);
    }
}
