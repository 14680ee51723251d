//! Whether this daemon may send.

use crate::drain::monitor::Denial;
use crate::sync::{Mutex, MutexGuard};

/// Whether this daemon may send. The takeover, the workers and the handle share it.
#[derive(Default)]
pub(super) struct SendPermit(Mutex<State>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// The takeover is not finished. `Delayed` says what delays it.
    #[default]
    TakingOver,
    Delayed(String, Option<Denial>),
    Granted,
    /// Not any more: why.
    Halted(String),
}

impl SendPermit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Whether workers may send.
    pub(super) fn is_granted(&self) -> bool {
        *self.state() == State::Granted
    }

    /// Nothing is sent any more in this life. The first reason stays.
    pub(super) fn halt(&self, reason: String) {
        let mut state = self.state();
        if !matches!(*state, State::Halted(_)) {
            tracing::error!(
                event = "drain.halted",
                drain.reason = reason,
                "delivery stopped until a restart; commands are still accepted"
            );
            *state = State::Halted(reason);
        }
    }

    /// Workers may send.
    pub(super) fn grant(&self) {
        *self.state() = State::Granted;
    }

    /// An attempt failed. `denial`: what Kafka forbids, if that is why.
    pub(super) fn report_delay(&self, reason: String, denial: Option<Denial>) {
        *self.state() = State::Delayed(reason, denial);
    }

    /// What Kafka forbids of what sending needs.
    pub(super) fn denied(&self) -> Option<Denial> {
        match &*self.state() {
            State::Delayed(_, denial) => denial.clone(),
            _ => None,
        }
    }

    /// Why nothing is sent, for people.
    pub(super) fn blocked_reason(&self) -> Option<String> {
        match &*self.state() {
            State::Granted => None,
            State::TakingOver => Some("taking over the positions".to_owned()),
            State::Delayed(reason, _) => Some(format!("{reason}; tried again")),
            State::Halted(reason) => Some(format!("{reason}; nothing is sent")),
        }
    }

    /// Whether nothing will be sent any more.
    pub(super) fn is_halted(&self) -> bool {
        matches!(*self.state(), State::Halted(_))
    }
}
