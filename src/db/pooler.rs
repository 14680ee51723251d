//! Support for a connection pooler between the daemon and PostgreSQL, such as PgBouncer.
//!
//! PgBouncer with `pool_mode = transaction` gives each transaction of a connection another session of the server.
//! Session state is then lost or, worse, belongs to another client: settings, prepared statements, locks that outlive
//! their transaction. So with `[database] pooler = "transaction"` no state is kept in a session. Each statement runs in
//! a transaction that sets its own time limits, and no prepared statement has a name.
//!
//! Without that setting a connection starts with its own settings. PgBouncer refuses them, or ignores them if its
//! `ignore_startup_parameters` lists them. Both cases are detected on the first connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// `[database] pooler`: the connection pooler in front of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooler {
    /// No pooler: a connection is a session of the server.
    #[default]
    None,
    /// A pooler that may give each transaction another session.
    Transaction,
}

/// Error text for connection settings that do not reach the server.
pub(super) const KEEPS_NO_SETTINGS: &str = "a connection pooler such as PgBouncer is in front of the database and does \
     not pass on the settings of a connection: set [database] pooler = \"transaction\", or connect to PostgreSQL \
     directly";

const POOLS_STATEMENTS: &str = "the connection pooler in front of the database allows no transactions: set its \
     pool_mode to \"transaction\" or \"session\", or connect to PostgreSQL directly";

/// PgBouncer's exact messages for errors that only an operator can fix. All have the code of a protocol violation.
const REFUSALS: [(&str, &str); 2] = [
    ("unsupported startup parameter", KEEPS_NO_SETTINGS),
    ("transaction blocks not allowed in statement pooling mode", POOLS_STATEMENTS),
];

const PROTOCOL_VIOLATION: &str = "08P01";

/// The reason why the pooler does not match the `[database]` section, if the error is one of [`REFUSALS`]. Does not
/// contain the error's text.
pub(super) fn configuration_error(error: &PgDatabaseError) -> Option<&'static str> {
    let refused = REFUSALS.iter().find(|(said, _)| error.message().starts_with(said));
    refused.filter(|_| error.code() == PROTOCOL_VIOLATION).map(|(_, meaning)| *meaning)
}

/// Whether the newest connection ignores its startup settings. Clones share the value.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsIgnored(Arc<AtomicBool>);

impl SettingsIgnored {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Checks that a new connection has this time limit for statements.
    pub(super) async fn check(
        self,
        connection: &mut PgConnection,
        limit: Duration,
    ) -> Result<(), sqlx::Error> {
        let limit = limit.as_millis();
        let sql = format!(
            "SELECT current_setting('statement_timeout')::interval = '{limit} milliseconds'::interval"
        );
        // As a simple query: a prepared statement would remain in a session of other clients.
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
        self.0.store(!row.try_get::<bool, _>(0)?, Ordering::Relaxed);
        Ok(())
    }
}

/// The statement that begins a transaction behind a pooler. `limit` applies to a statement and to a wait for a lock,
/// `abandoned` to an idle transaction.
pub(super) fn begin(limit: Duration, abandoned: Duration) -> Arc<str> {
    let (limit, abandoned) = (limit.as_millis(), abandoned.as_millis());
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {limit}; \
         SET LOCAL lock_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {abandoned}"
    );
    begin.into()
}
