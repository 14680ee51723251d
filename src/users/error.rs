//! Errors of user requests. Nothing is logged for a failed request, except as documented for `Submit`.

use std::time::Duration;

use super::FieldError;
use super::hash::HashError;
use crate::db::DbError;
use crate::ingest::SubmitError;
use crate::kv::KvError;

/// Why a user request failed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Fields that break a rule; at least one.
    #[error("{} fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// Another user has this name, e-mail address or phone number, or is about to get it.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// The user does not exist.
    #[error("no such user")]
    NotFound,
    /// The caller's account was deleted, and the name belongs to another user now.
    #[error("the name belongs to another user now")]
    FormerUser,
    /// The old password is wrong.
    #[error("the old password is wrong")]
    WrongPassword,
    /// The same request, or another one for the same value, is in progress.
    #[error("a request for the same value is in progress")]
    InProgress,
    /// The stored row was accepted by a daemon whose clock is ahead. A command accepted now would be superseded.
    #[error("the clock of another daemon is ahead")]
    ClockBehind {
        /// When a command will be newer than the row.
        retry_after: Duration,
    },
    /// The reservation store is unavailable.
    #[error("the reservation store is unavailable")]
    ReservationStore,
    /// The database is unavailable, or the checks exceeded their timeout.
    #[error("the database is unavailable")]
    Database,
    /// Too many commands wait for their checks.
    #[error("too many commands wait to be checked")]
    Overloaded,
    /// Too many passwords wait for hashing.
    #[error("too many passwords wait to be hashed")]
    Hashing {
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// The log's error.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl From<KvError> for UserError {
    fn from(error: KvError) -> Self {
        tracing::debug!(%error, "reservation store request failed");
        Self::ReservationStore
    }
}

impl From<HashError> for UserError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy { retry_after } => Self::Hashing { retry_after },
            HashError::TooLong => Self::Invalid(vec![FieldError::new("password", error.to_string())]),
            HashError::Closing => Self::Submit(SubmitError::Closing),
        }
    }
}

impl From<DbError> for UserError {
    fn from(error: DbError) -> Self {
        // Logged at debug level only, not once per request: `/readyz` shows the state of the database.
        tracing::debug!(%error, "database request failed");
        Self::Database
    }
}
