//! A connection pooler between the daemon and PostgreSQL, such as PgBouncer.
//!
//! PgBouncer with `pool_mode = transaction` gives each transaction of a connection another session of the server. What a
//! session keeps is then lost or, worse, another client's: settings, prepared statements, locks that outlive their
//! transaction. So with `[database] pooler = "transaction"` nothing is kept in a session. Each statement runs in a
//! transaction, whose time limits are set in it, and no prepared statement has a name.
//!
//! Without that setting a connection starts with settings of its own. PgBouncer refuses them, or ignores them where its
//! `ignore_startup_parameters` says so. Both are noticed at the first connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// `[database] pooler`: what stands before the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooler {
    /// Nothing: a connection is a session of the server.
    #[default]
    None,
    /// A pooler that may give each transaction another session.
    Transaction,
}

/// Said where settings of a connection do not reach the server.
pub(super) const KEEPS_NO_SETTINGS: &str = "a connection pooler such as PgBouncer stands before the database and does \
     not pass on the settings of a connection: set [database] pooler = \"transaction\", or connect to PostgreSQL itself";

const POOLS_STATEMENTS: &str = "the connection pooler before the database allows no transactions: set its pool_mode to \
     \"transaction\" or \"session\", or connect to PostgreSQL itself";

/// What PgBouncer says, word for word, for what only an operator can mend; all with the code of a protocol violation.
const REFUSALS: [(&str, &str); 2] = [
    ("unsupported startup parameter", KEEPS_NO_SETTINGS),
    ("transaction blocks not allowed in statement pooling mode", POOLS_STATEMENTS),
];

const PROTOCOL_VIOLATION: &str = "08P01";

/// Why the pooler does not fit the `[database]` section, where the error says that. Nothing of its text is shown.
pub(super) fn configuration_error(error: &PgDatabaseError) -> Option<&'static str> {
    let refused = REFUSALS.iter().find(|(said, _)| error.message().starts_with(said));
    refused.filter(|_| error.code() == PROTOCOL_VIOLATION).map(|(_, meaning)| *meaning)
}

/// Whether the newest connection ignores the settings that it was opened with. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsIgnored(Arc<AtomicBool>);

impl SettingsIgnored {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks a new connection for the time limit of statements, which must be this.
    pub(super) async fn check(
        self,
        connection: &mut PgConnection,
        limit: Duration,
    ) -> Result<(), sqlx::Error> {
        let limit = limit.as_millis();
        let sql = format!(
            "SELECT current_setting('statement_timeout')::interval = '{limit} milliseconds'::interval"
        );
        // As a simple query: a prepared statement would be left behind in a session of others.
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
        self.0.store(!row.try_get::<bool, _>(0)?, Ordering::Relaxed);
        Ok(())
    }
}

/// What begins a transaction behind a pooler. `limit`: of a statement, and of a wait for a lock. `abandoned`: of a
/// transaction in which nothing happens.
pub(super) fn begin(limit: Duration, abandoned: Duration) -> Arc<str> {
    let (limit, abandoned) = (limit.as_millis(), abandoned.as_millis());
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {limit}; \
         SET LOCAL lock_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {abandoned}"
    );
    begin.into()
}
