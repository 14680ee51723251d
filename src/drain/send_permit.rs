//! The permission of this daemon to send.

use crate::drain::monitor::Denial;
use crate::sync::{Mutex, MutexGuard};

/// The permission of this daemon to send. The takeover, the workers and the handle share it.
#[derive(Default)]
pub(super) struct SendPermit(Mutex<State>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// The takeover is not finished. `Delayed` contains the cause of the delay.
    #[default]
    TakingOver,
    Delayed(String, Option<Denial>),
    Granted,
    /// Sending has stopped for this reason.
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

    /// Stops sending until a restart. The first reason is kept.
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

    /// Allows the workers to send.
    pub(super) fn grant(&self) {
        *self.state() = State::Granted;
    }

    /// An attempt failed. `denial` is the permission that Kafka denies, if that is the cause.
    pub(super) fn report_delay(&self, reason: String, denial: Option<Denial>) {
        *self.state() = State::Delayed(reason, denial);
    }

    /// The permission that sending needs and Kafka denies.
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

    /// Whether nothing more is sent until a restart.
    pub(super) fn is_halted(&self) -> bool {
        matches!(*self.state(), State::Halted(_))
    }
}
