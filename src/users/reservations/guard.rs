//! Guards for the reservations of one request until its command is in the log.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::Reservations;
use super::in_flight::InFlightGuard;
use super::key::ReservationKey;
use crate::command::CommandId;
use crate::ingest::{Ingest, Receipt, Request, SubmitError};
use crate::task::TaskSet;
use crate::telemetry::StepTimers;

/// The in-flight entry of a command, and its reservations.
pub(in crate::users) struct ReservationGuard {
    pub keys: Arc<[ReservationKey]>,
    pub claim: [u8; 16],
    pub guard: InFlightGuard,
    /// `None`: nothing is stored, because the command needs no reservations or the store is unavailable.
    pub stored: Option<StoredReservations>,
}

/// Stored reservations without an accepted command. If dropped, because the client disconnected or the request timed
/// out, they are released. Otherwise they would block the value at other daemons until they expire.
pub(in crate::users) struct StoredReservations {
    keys: Arc<[ReservationKey]>,
    claim: [u8; 16],
    reservations: Arc<Reservations>,
    /// Runs the release. Weak, because the owner of this value may be one of these tasks.
    tasks: Weak<TaskSet>,
    is_kept: bool,
}

impl ReservationGuard {
    /// Releases the reservations before the error response, so that the next request does not find them.
    pub async fn release(self) {
        if let Some(stored) = self.stored {
            stored.release().await;
        }
    }

    /// Submits the command, then confirms or releases its reservations.
    pub async fn submit(
        self,
        ingest: Ingest,
        request: Request,
        steps: StepTimers,
    ) -> Result<Receipt, SubmitError> {
        // After this call the log may hold the command.
        let stored = self.stored.map(StoredReservations::keep_on_drop);
        let submitted = {
            let _step = steps.begin("users.log");
            ingest.submit(request).await
        };
        if let Ok(receipt) = &submitted {
            self.guard.on_accepted(receipt);
        }
        let Some(stored) = stored else { return submitted };
        match &submitted {
            // Another request used this Idempotency-Key meanwhile: these reservations belong to no command.
            Ok(receipt) if receipt.replayed => stored.release().await,
            Ok(receipt) => {
                let _step = steps.begin("users.confirm");
                stored.confirm(&receipt.ids).await;
            }
            // The log may hold the command; then the reservations are resolved by its claim.
            Err(error) if error.is_undecided() => {}
            Err(_) => stored.release().await,
        }
        submitted
    }
}

impl StoredReservations {
    /// All `wanted` reservations are stored.
    pub fn new(
        wanted: Arc<[ReservationKey]>,
        claim: [u8; 16],
        reservations: Arc<Reservations>,
        tasks: Weak<TaskSet>,
    ) -> Self {
        Self { keys: wanted, claim, reservations, tasks, is_kept: false }
    }

    async fn release(mut self) {
        self.reservations.release(&self.keys, self.claim).await;
        self.is_kept = true;
    }

    /// Disables the release on drop.
    fn keep_on_drop(mut self) -> Self {
        self.is_kept = true;
        self
    }

    async fn confirm(self, ids: &[CommandId]) {
        if let Some(id) = ids.first() {
            self.reservations.confirm(&self.keys, self.claim, *id).await;
        }
    }
}

impl Drop for StoredReservations {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let (Ok(runtime), Some(tasks)) = (Handle::try_current(), self.tasks.upgrade()) else { return };
        let (reservations, wanted, claim) =
            (Arc::clone(&self.reservations), Arc::clone(&self.keys), self.claim);
        tasks.spawn(&runtime, async move { reservations.release(&wanted, claim).await });
    }
}
