//! Why the process ends before its time, and what it tells its parent.

use std::io;

use crate::config::ConfigErrors;
use crate::db::DbError;
use crate::task;

/// Exit code of a wrong command line or configuration.
pub const EXIT_USAGE: u8 = 64;

/// Why the daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration has mistakes.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// The data directory cannot be used, or another process has it.
    #[error("the data directory cannot be used: {0}")]
    Directory(String),
    /// The log failed while it was written or flushed.
    #[error("the log failed, and only a new start may decide what it holds: {0}")]
    Poisoned(String),
    /// Start-up may not repair this by itself.
    #[error("the log cannot be opened: {0}")]
    Damaged(String),
    /// A listener's address cannot be had.
    #[error("[server] {key}: cannot listen on {address}: {source}. Free the address or choose another")]
    Listen {
        /// The key of `[server]` that names it.
        key: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A body would be refused; standard output has the problem document.
    #[error("the body would be refused")]
    Refused,
    /// Dependencies are not as the daemon needs them; standard output says which.
    #[error("{0}")]
    DatabaseUnfit(String),
    /// What was given on the command line cannot be done.
    #[error("{0}")]
    Usage(String),
    /// The database cannot be used.
    #[error("[database]: {0}")]
    Database(#[from] DbError),
    /// The Kafka client refuses its settings.
    #[error("[kafka]: {0}")]
    Kafka(String),
    /// The database's or the store's client refuses its settings.
    #[error("{0}")]
    Client(String),
    /// A range was not applied as a whole.
    #[error("not everything was applied: {0}")]
    Unapplied(String),
    /// The log was not emptied.
    #[error("not everything was delivered: {0}")]
    Undelivered(String),
    /// A thread the daemon cannot live without has failed.
    #[error(transparent)]
    Task(#[from] task::TaskFailure),
    /// The system refused something every process may have.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Failure {
    /// The codes of `sysexits.h` where a service manager or script should tell cases apart; 1 where a new start
    /// may mend it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Kafka(_) | Self::Client(_) | Self::Usage(_) | Self::Refused => {
                EXIT_USAGE
            }
            Self::Database(DbError::PoolerMismatch(_)) => EXIT_USAGE,
            Self::Directory(_) => 73,
            Self::Poisoned(_) => 74,
            Self::Damaged(_) => 78,
            Self::Database(_)
            | Self::Listen { .. }
            | Self::Undelivered(_)
            | Self::Unapplied(_)
            | Self::DatabaseUnfit(_)
            | Self::Task(_)
            | Self::System { .. } => 1,
        }
    }

    /// For `map_err`: the system refused `what`.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
