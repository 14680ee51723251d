//! Why a request about users was not done. Nothing of it is logged, except where `Submit` says otherwise.

use std::time::Duration;

use super::FieldError;
use super::hash::HashError;
use crate::db::DbError;
use crate::ingest::SubmitError;
use crate::kv::KvError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Members that break a rule; at least one.
    #[error("{} members are not as they must be", .0.len())]
    Invalid(Vec<FieldError>),
    /// Somebody else has this name, e-mail address or phone number, or is just getting it.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// No such user.
    #[error("no such user")]
    NotFound,
    /// The caller's account was deleted, and the name is somebody else's now.
    #[error("the name is another user's now")]
    FormerUser,
    /// The old password is another one.
    #[error("the old password is wrong")]
    WrongPassword,
    /// The same, or what somebody else has asked for, is just being accepted or refused.
    #[error("a request for the same is under way")]
    InProgress,
    /// What stands there was accepted by a daemon whose clock is ahead: a command of now would be superseded.
    #[error("the clock of another daemon is ahead")]
    ClockBehind {
        /// When a command will be newer.
        retry_after: Duration,
    },
    /// The marker store does not answer.
    #[error("the marker store does not answer")]
    ReservationStore,
    /// The database does not answer, or the checks took longer than they may.
    #[error("the database does not answer")]
    Database,
    /// More commands wait to be checked than can be in time.
    #[error("too many commands wait to be checked")]
    Overloaded,
    /// More passwords wait to be hashed than can be in time.
    #[error("too many passwords wait to be hashed")]
    Hashing {
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// The log's word.
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
        // Not an answer's business, and not a line a request: `/readyz` says how the database does.
        tracing::debug!(%error, "database request failed");
        Self::Database
    }
}
