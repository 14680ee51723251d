//! The markers that one request holds on its way to the log.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::Reservations;
use super::in_flight::InFlightGuard;
use super::key::ReservationKey;
use crate::command::CommandId;
use crate::ingest::{Ingest, Receipt, Request, SubmitError};
use crate::task::TaskSet;
use crate::telemetry::StepTimers;

/// The entry of a command that is under way, and its markers.
pub(in crate::users) struct ReservationGuard {
    pub keys: Arc<[ReservationKey]>,
    pub claim: [u8; 16],
    pub guard: InFlightGuard,
    /// None: the store has none, because the command needs none or the store is away.
    pub stored: Option<StoredReservations>,
}

/// Markers that the store has and no command stands behind yet. Dropped, because the client hung up or nobody waited for
/// them any more, they are given back: another daemon would believe them until their time ends.
pub(in crate::users) struct StoredReservations {
    keys: Arc<[ReservationKey]>,
    claim: [u8; 16],
    reservations: Arc<Reservations>,
    /// Where they are given back. Weak: what drops them may be one of these tasks.
    tasks: Weak<TaskSet>,
    is_kept: bool,
}

impl ReservationGuard {
    /// Gives the markers back, before the refusal is answered: who comes after it finds them gone.
    pub async fn release(self) {
        if let Some(stored) = self.stored {
            stored.release().await;
        }
    }

    /// Submits the command, and does with its markers what follows.
    pub async fn submit(
        self,
        ingest: Ingest,
        request: Request,
        steps: StepTimers,
    ) -> Result<Receipt, SubmitError> {
        // From here on the log may hold the command.
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
            // Another request took this one's Idempotency-Key meanwhile: its markers stand for nothing.
            Ok(receipt) if receipt.replayed => stored.release().await,
            Ok(receipt) => {
                let _step = steps.begin("users.confirm");
                stored.confirm(&receipt.ids).await;
            }
            // The log may hold it, and knows its claim then.
            Err(error) if error.is_undecided() => {}
            Err(_) => stored.release().await,
        }
        submitted
    }
}

impl StoredReservations {
    /// The store has all that are wanted.
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

    /// They stay when they are dropped.
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
