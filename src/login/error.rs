//! Errors of logins.

use std::time::Duration;

use crate::auth::TokenError;
use crate::db::DbError;
use crate::ratelimit::Limited;
use crate::users::hash::HashError;

/// Why no tokens were issued.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No user has this name and this password. The error does not tell which is wrong.
    #[error("name or password is wrong")]
    WrongCredentials,
    /// The token is invalid, or its session has ended.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Above `[login] fast_fail_threshold`. Contains the configured message.
    #[error("{0}")]
    Busy(String),
    /// Too many passwords wait to be compared.
    #[error("too many passwords wait to be compared")]
    Hashing {
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// Too many wrong passwords for this account.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The database is unavailable.
    #[error("the database is unavailable")]
    Database,
    /// The daemon is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
    /// No key for signing tokens is configured.
    #[error("no key for signing tokens is configured")]
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
            // No user has a password of this length.
            HashError::TooLong => Self::WrongCredentials,
            HashError::Closing => Self::Stopping,
        }
    }
}
