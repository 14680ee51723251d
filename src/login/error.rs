//! Why there are no tokens.

use std::time::Duration;

use crate::auth::TokenError;
use crate::db::DbError;
use crate::ratelimit::Limited;
use crate::users::hash::HashError;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No user has this name and this password; which of the two nobody is told.
    #[error("name or password is wrong")]
    WrongCredentials,
    /// The token is not good, or what it stands for has ended.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Above `[login] fast_fail_threshold`; the message is the operator's.
    #[error("{0}")]
    Busy(String),
    /// More passwords wait to be compared than can be in time.
    #[error("too many passwords wait to be compared")]
    Hashing {
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// Too many wrong passwords for this account.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// There is no key that signs tokens.
    #[error("nobody logs in here")]
    NoKeys,
}

impl From<DbError> for LoginError {
    fn from(error: DbError) -> Self {
        tracing::debug!(%error, "database request failed");
        Self::Database
    }
}

impl From<HashError> for LoginError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy { retry_after } => Self::Hashing { retry_after },
            // Nobody has a password that long.
            HashError::TooLong => Self::WrongCredentials,
            HashError::Closing => Self::Stopping,
        }
    }
}
