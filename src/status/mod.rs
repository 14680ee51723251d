//! Where a command is, and who may ask. (Bodies follow.)
#![allow(unused_variables, clippy::todo, missing_docs)]

use crate::command::CommandId;
use crate::command::Status;
use crate::wal::Lsn;

/// Looks commands up by id.
#[derive(Clone)]
pub struct Statuses {}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// May see everything (`mode = "open"` counts every caller as this).
    Admin,
    Principal(&'a str),
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Malformed id, no such command, or not the asker's.
    #[error("no such command")]
    NotFound,
    #[error("another log accepted this command")]
    OtherLog,
    /// The disk did not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl Statuses {
    /// The status of a command. Reads files: call it from `spawn_blocking`, or use `find`.
    pub fn look_up(&self, id: &CommandId, asker: Asker<'_>) -> Result<Status, StatusError> {
        todo!()
    }

    /// The same, off the runtime's threads.
    pub async fn find(
        &self,
        id: CommandId,
        principal: Option<String>,
        admin: bool,
    ) -> Result<Status, StatusError> {
        todo!()
    }

    /// Completes when the command has reached a final state or `deadline` has come. Register BEFORE the look-up.
    pub async fn final_state(&self, id: &CommandId, deadline: std::time::Instant) {
        todo!()
    }

    /// Called by the drain after `Log::confirm` or `Log::bury`: wakes those who wait for these records.
    pub fn finished(&self, lsns: &[Lsn]) {
        todo!()
    }
}
