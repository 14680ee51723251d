//! Database errors, classified by what the caller can do.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::backoff::CallError;

use super::codes::{ConnectionState, ErrorClass};
use super::{codes, pooler};

/// Why a call to the database failed. The text never contains values or SQL: databases repeat both in their messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// A unique index refused a row: another command took the value first. Read again.
    #[error("a unique index of the database refused a row")]
    Conflict,
    /// A temporary failure: a conflicting transaction, a full disk, a server that is starting. A retry may succeed.
    #[error("the database cannot run the statement now: {0}")]
    Busy(String),
    /// No reply, or none in time: the server is unreachable or too slow. A retry may succeed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Several calls in a row found the database unavailable, so calls are refused for a short time.
    #[error("the database was unavailable, so calls to it are refused for a short time")]
    BreakerOpen,
    /// The pooler in front of the database does not match the `[database]` section. An operator has to change one of
    /// them.
    #[error("{0}")]
    PoolerMismatch(&'static str),
    /// A permanent failure: the statement or its data is not accepted.
    #[error("the database refused the statement: {0}")]
    Refused(String),
}

impl DbError {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_) | Self::BreakerOpen | Self::PoolerMismatch(_))
    }

    /// Whether the index to create already exists. MySQL has no `CREATE INDEX IF NOT EXISTS`.
    pub(super) fn is_existing_index(&self) -> bool {
        matches!(self, Self::Refused(what) if what == "mysql error 1061")
    }

    /// Classifies an error of a connection or a statement.
    pub(super) fn from_sqlx(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let misfit =
                    error.try_downcast_ref::<PgDatabaseError>().and_then(pooler::configuration_error);
                if let Some(why) = misfit {
                    return Self::PoolerMismatch(why);
                }
                let (what, class, _) = of_database(error.as_ref());
                class.error(what)
            }
            sqlx::Error::Io(error) => Self::Unavailable(format!("the connection failed: {}", error.kind())),
            sqlx::Error::Tls(_) => Self::Unavailable("the TLS handshake failed".to_owned()),
            sqlx::Error::PoolTimedOut => {
                Self::Unavailable("no connection was free within acquire_timeout".to_owned())
            }
            sqlx::Error::PoolClosed => Self::Busy("the pool is closed".to_owned()),
            sqlx::Error::WorkerCrashed => Self::Unavailable("the connection's thread ended".to_owned()),
            // A server that dies in the middle of a reply causes this error.
            sqlx::Error::Protocol(_) => Self::Unavailable("a reply could not be parsed".to_owned()),
            sqlx::Error::BeginFailed => Self::Busy("the transaction did not begin".to_owned()),
            sqlx::Error::Configuration(_) => Self::Refused("the [database] url cannot be read".to_owned()),
            _ => Self::Refused("the driver does not accept the statement".to_owned()),
        }
    }
}

impl CallError for DbError {
    fn refused() -> Self {
        Self::BreakerOpen
    }

    fn is_outage(&self) -> bool {
        // Behind the wrong pooler each call opens a connection for nothing, as it does to an unavailable server.
        matches!(self, Self::Unavailable(_) | Self::PoolerMismatch(_))
    }
}

/// Whether the connection may be reused. It may not when its stream broke or may be out of step, or when the server
/// reports that the connection is useless.
pub(super) fn connection_state(error: &sqlx::Error) -> ConnectionState {
    match error {
        sqlx::Error::Database(error) => of_database(error.as_ref()).2,
        sqlx::Error::RowNotFound => ConnectionState::Usable,
        _ => ConnectionState::Stale,
    }
}

fn of_database(error: &(dyn sqlx::error::DatabaseError + 'static)) -> (String, ErrorClass, ConnectionState) {
    let (what, class, conn_state) = if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        let number = error.number();
        (format!("mysql error {number}"), codes::mysql(number), codes::mysql_connection_state(number))
    } else if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        let state = error.code();
        (format!("postgres error {state}"), codes::postgres(state), codes::postgres_connection_state(state))
    } else {
        let code = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
        (format!("sqlite error {code}"), codes::sqlite(code), codes::sqlite_connection_state(code))
    };
    match conn_state {
        ConnectionState::Demoted => (format!("{what}: the server accepts no writes"), class, conn_state),
        _ => (what, class, conn_state),
    }
}

impl ErrorClass {
    fn error(self, what: String) -> DbError {
        match self {
            Self::Conflict => DbError::Conflict,
            Self::Busy => DbError::Busy(what),
            Self::TimedOut => DbError::Unavailable(what),
            Self::Refused => DbError::Refused(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_errors_are_transient_except_configuration_errors() {
        let io = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let busy = [io, sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed, sqlx::Error::WorkerCrashed];
        for error in busy {
            assert!(DbError::from_sqlx(&error).is_transient(), "{error}");
            assert_eq!(connection_state(&error), ConnectionState::Stale);
        }
        assert!(DbError::from_sqlx(&sqlx::Error::Protocol("x".into())).is_transient());
        assert!(!DbError::from_sqlx(&sqlx::Error::ColumnNotFound("x".into())).is_transient());
        assert!(!DbError::from_sqlx(&sqlx::Error::Configuration("secret".into())).is_transient());
    }

    #[test]
    fn error_texts_do_not_contain_the_drivers_text() {
        let error = DbError::from_sqlx(&sqlx::Error::Configuration("mysql://u:hunter2@h/".into()));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = DbError::from_sqlx(&sqlx::Error::Protocol("ada@example.org".into()));
        assert!(!format!("{error} {error:?}").contains("ada"));
    }
}
