//! Markers that a request holds on its way to the log.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::flights::Seat;
use super::pending::Pending;
use super::pending::Wanted;
use crate::task::TaskSet;

/// The markers and the seat of a command that is under way. Dropped before the command was handed to the log, because
/// its client hung up, it gives the markers back: another daemon would believe them until their time ends.
pub(super) struct Hold {
    pub wanted: Arc<[Wanted]>,
    pub claim: [u8; 16],
    pub seat: Seat,
    /// Whether the store has them, and for nothing else.
    stored: bool,
    pending: Arc<Pending>,
    tasks: Arc<TaskSet>,
}

impl Hold {
    /// Of markers that are not set yet.
    pub fn new(
        wanted: Vec<Wanted>,
        claim: [u8; 16],
        seat: Seat,
        pending: Arc<Pending>,
        tasks: Arc<TaskSet>,
    ) -> Self {
        Self { wanted: wanted.into(), claim, seat, stored: false, pending, tasks }
    }

    /// The store has all of them.
    pub fn has_markers(&mut self) {
        self.stored = true;
    }

    /// Gives the markers back, before the refusal is answered: who comes after it finds them gone.
    pub async fn give_back(mut self) {
        if self.keep() {
            self.pending.release(&self.wanted, self.claim).await;
        }
    }

    /// From here on the log may hold the command, and its markers stay when this is dropped. Says whether there are any.
    pub fn keep(&mut self) -> bool {
        std::mem::take(&mut self.stored)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.keep() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (pending, wanted, claim) = (Arc::clone(&self.pending), Arc::clone(&self.wanted), self.claim);
        self.tasks.spawn(&runtime, async move { pending.release(&wanted, claim).await });
    }
}
