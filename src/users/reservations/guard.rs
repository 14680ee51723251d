//! The markers that one request holds on its way to the log.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::Reservations;
use super::in_flight::Guard;
use super::key::ReservationKey;
use crate::command::CommandId;
use crate::ingest::{Ingest, Receipt, Request, SubmitError};
use crate::task::TaskSet;
use crate::telemetry::StepTimers;

/// The entry of a command that is under way, and its markers.
pub(in crate::users) struct ReservationGuard {
    pub wanted: Arc<[ReservationKey]>,
    pub claim: [u8; 16],
    pub guard: Guard,
    /// None: the store has none, because the command needs none or the store is away.
    pub stored: Option<Stored>,
}

/// Markers that the store has and no command stands behind yet. Dropped, because the client hung up or nobody waited for
/// them any more, they are given back: another daemon would believe them until their time ends.
pub(in crate::users) struct Stored {
    wanted: Arc<[ReservationKey]>,
    claim: [u8; 16],
    reservations: Arc<Reservations>,
    /// Where they are given back. Weak: what drops them may be one of these tasks.
    tasks: Weak<TaskSet>,
    kept: bool,
}

impl ReservationGuard {
    /// Gives the markers back, before the refusal is answered: who comes after it finds them gone.
    pub async fn give_back(self) {
        if let Some(stored) = self.stored {
            stored.give_back().await;
        }
    }

    /// Submits the command, and does with its markers what follows.
    pub async fn log(
        self,
        ingest: Ingest,
        request: Request,
        steps: StepTimers,
    ) -> Result<Receipt, SubmitError> {
        // From here on the log may hold the command.
        let stored = self.stored.map(Stored::keep);
        let submitted = {
            let _step = steps.begin("users.log");
            ingest.submit(request).await
        };
        if let Ok(receipt) = &submitted {
            self.guard.accepted(receipt);
        }
        let Some(stored) = stored else { return submitted };
        match &submitted {
            // Another request took this one's Idempotency-Key meanwhile: its markers stand for nothing.
            Ok(receipt) if receipt.replayed => stored.give_back().await,
            Ok(receipt) => {
                let _step = steps.begin("users.confirm");
                stored.confirm(&receipt.ids).await;
            }
            // The log may hold it, and knows its claim then.
            Err(error) if error.is_undecided() => {}
            Err(_) => stored.give_back().await,
        }
        submitted
    }
}

impl Stored {
    /// The store has all that are wanted.
    pub fn new(
        wanted: Arc<[ReservationKey]>,
        claim: [u8; 16],
        reservations: Arc<Reservations>,
        tasks: Weak<TaskSet>,
    ) -> Self {
        Self { wanted, claim, reservations, tasks, kept: false }
    }

    async fn give_back(mut self) {
        self.reservations.release(&self.wanted, self.claim).await;
        self.kept = true;
    }

    /// They stay when they are dropped.
    fn keep(mut self) -> Self {
        self.kept = true;
        self
    }

    async fn confirm(self, ids: &[CommandId]) {
        if let Some(id) = ids.first() {
            self.reservations.confirm(&self.wanted, self.claim, *id).await;
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (Ok(runtime), Some(tasks)) = (Handle::try_current(), self.tasks.upgrade()) else { return };
        let (reservations, wanted, claim) =
            (Arc::clone(&self.reservations), Arc::clone(&self.wanted), self.claim);
        tasks.spawn(&runtime, async move { reservations.release(&wanted, claim).await });
    }
}
