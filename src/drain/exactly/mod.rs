//! Exactly once: every transaction holds records and the positions they lead to.
//!
//! 1. *Claim* (`claim`): the number of ids is made durable in the log, every id that may be in use is fenced, and only
//!    then the positions are read, up to an end taken after that. What Kafka has is counted as done. The life is made
//!    durable in the log, and one transaction (the *hello*) rewrites all messages of this log in its name. Then the log
//!    notes that the life delivers. From then on a message of any other incarnation means that another copy took over.
//! 2. *Sender* (`sender`): each worker makes its producer the only one of its id and reads its own message. The same way
//!    a commit of unknown outcome is resolved: the message is there, or it is not.
//! 3. *Run* (`worker`, `sending`, `outcome`): begin, records, positions, all results, commit. Only then are its records
//!    `sent`. Whatever fails before the commit is aborted and sent again from the first record of the transaction; a
//!    record that Kafka refuses is a dead letter first. A partition or topic that takes nothing holds its lanes (`held`).
//!
//! `positions`, `message`, `verdict` are without Kafka: what a position is, how it is written, whom it is believed.

mod claim;
mod core;
mod held;
mod message;
#[cfg(test)]
mod model;
mod outcome;
mod positions;
mod run;
mod sender;
mod sending;
mod table;
mod verdict;
mod worker;

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::kafka::Next;
use crate::kafka::TransactionError;

pub(super) use claim::Claim;
pub(super) use claim::ClaimParts;
pub(super) use claim::Purpose;
pub(super) use worker::Worker;
pub(super) use worker::WorkerParts;

/// How long one call into the Kafka client may block. Twice a heartbeat's second.
const SLICE: Duration = Duration::from_millis(400);

/// Whether this daemon may send. Shared by the claim, the workers and whoever asks.
#[derive(Default)]
pub(super) struct Standing(Mutex<State>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// The claim is on its way; with the trouble it has.
    #[default]
    Claiming,
    Troubled(String),
    Granted,
    /// Not any more: why.
    Halted(String),
}

impl Standing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether workers may send.
    pub(super) fn is_granted(&self) -> bool {
        *self.state() == State::Granted
    }

    /// Nothing is sent any more in this life. The first reason stays.
    fn halt(&self, reason: String) {
        let mut state = self.state();
        if !matches!(*state, State::Halted(_)) {
            tracing::error!(drain.reason = reason, "nothing more is sent; commands are accepted");
            *state = State::Halted(reason);
        }
    }

    /// Workers may send.
    pub(super) fn grant(&self) {
        *self.state() = State::Granted;
    }

    fn trouble(&self, reason: String) {
        *self.state() = State::Troubled(reason);
    }

    /// Why nothing is sent, for people.
    pub(super) fn notice(&self) -> Option<String> {
        match &*self.state() {
            State::Granted => None,
            State::Claiming => Some("taking over the positions".to_owned()),
            State::Troubled(reason) => Some(format!("{reason}; tried again")),
            State::Halted(reason) => Some(format!("{reason}; nothing is sent")),
        }
    }

    /// Whether nothing will be sent any more.
    pub(super) fn is_halted(&self) -> bool {
        matches!(*self.state(), State::Halted(_))
    }
}

/// Calls again what ran out of time, as long as `tick` wants.
fn persist(
    tick: &mut dyn FnMut() -> bool,
    call: impl Fn(Duration) -> Result<(), TransactionError>,
) -> Result<(), TransactionError> {
    loop {
        match call(SLICE) {
            Err(error) if error.next == Next::Again => {
                if !tick() {
                    return Err(error);
                }
                // Some errors that pass come at once.
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}
