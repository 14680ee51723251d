//! Errors that end the process, and their exit codes.

use std::io;

use crate::config::ConfigErrors;
use crate::db::DbError;
use crate::task;

/// Exit code of an invalid command line or configuration.
pub const EXIT_USAGE: u8 = 64;

/// Why the daemon could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration has errors.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// The data directory cannot be used, or another process uses it.
    #[error("the data directory cannot be used: {0}")]
    Directory(String),
    /// A write or flush of the log failed.
    #[error("the log failed; only a restart can determine what it holds: {0}")]
    Poisoned(String),
    /// The log needs an operator; start-up must not repair it.
    #[error("the log cannot be opened: {0}")]
    Damaged(String),
    /// A listener cannot bind its address.
    #[error(
        "[server] {key}: cannot listen on {address}: {source}. Free the address, or set another one, such as \
         FOREBAY__SERVER__{}=127.0.0.1:18088", .key.to_uppercase()
    )]
    Listen {
        /// The configuration key of the address, in `[server]`.
        key: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The body would be refused. The problem document is on standard output.
    #[error("the body would be rejected")]
    Refused,
    /// A dependency failed its checks. Details are on standard output.
    #[error("{0}")]
    DatabaseUnfit(String),
    /// The arguments on the command line cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The database cannot be used.
    #[error("[database]: {0}")]
    Database(#[from] DbError),
    /// The Kafka client rejects its settings.
    #[error("[kafka]: {0}")]
    Kafka(String),
    /// The client of the database or the reservation store rejects its settings.
    #[error("{0}")]
    Client(String),
    /// A range was applied only in part.
    #[error("not all commands were applied: {0}")]
    Unapplied(String),
    /// The log was not emptied.
    #[error("not all records were delivered: {0}")]
    Undelivered(String),
    /// A vital thread of the daemon failed.
    #[error(transparent)]
    Task(#[from] task::TaskFailure),
    /// The system refused a resource or call.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl Failure {
    /// The exit code: one of `sysexits.h` where a service manager or script should distinguish cases, or 1 if a restart
    /// may fix the failure.
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

    /// For `map_err`: turns a system error into a failure of `what`.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
