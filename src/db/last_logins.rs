//! Writing login times, many in one statement.

use std::collections::BTreeMap;

use crate::units::Timestamp;

use super::dialect::Dialect;
use super::error::DbError;
use super::pooled_connection::PooledConnection;
use super::query_metrics::Query;
use super::value::{Value, millis};
use super::{Database, statement_size};

impl Database {
    /// Sets users' last login times where they are later than the stored ones, and returns the number of changed users.
    /// Names that do not exist, or were registered later, are skipped; no other column changes.
    ///
    /// Rows are locked in the order of names, as batches lock them.
    pub async fn set_last_logins(&self, logins: &[(String, Timestamp)]) -> Result<u64, DbError> {
        let mut newest: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (name, at) in logins {
            let standing = newest.entry(name).or_insert(*at);
            *standing = (*standing).max(*at);
        }
        let newest: Vec<_> = newest.into_iter().collect();
        self.with_breaker(async |mut connection| {
            let mut changed = 0;
            for logins in statement_size::chunks(&newest) {
                changed += write(&mut connection, logins).await?;
            }
            Ok(changed)
        })
        .await
    }
}

async fn write(connection: &mut PooledConnection, logins: &[(&str, Timestamp)]) -> Result<u64, DbError> {
    let shape = statement_size::padded_len(logins.len());
    let mut values = Vec::with_capacity(2 * shape);
    for (name, at) in logins {
        values.extend([Value::MaybeText(Some(name)), Value::MaybeInt(Some(millis(*at)))]);
    }
    // No user has the name NULL.
    for _ in logins.len()..shape {
        values.extend([Value::MaybeText(None), Value::MaybeInt(None)]);
    }
    connection.execute(Query::LastLogins, &update(connection.dialect(), shape), &values).await
}

/// The statement for this number of rows. Each row is a name and an instant.
fn update(dialect: Dialect, rows: usize) -> String {
    // A login before the registration belongs to a former user of that name.
    let later =
        "(users.last_login_at IS NULL OR users.last_login_at < seen.at) AND users.created_at <= seen.at";
    match dialect {
        // MariaDB has no WITH before UPDATE. The rows are looked up one by one, in the order of the list: the optimiser
        // cannot change the order of locks.
        Dialect::MySql => {
            let row = "SELECT CAST(? AS CHAR(255)) AS name, CAST(? AS SIGNED) AS at";
            let seen = vec![row; rows].join(" UNION ALL ");
            format!(
                "UPDATE ({seen}) AS seen STRAIGHT_JOIN users ON users.name = seen.name \
                 SET users.last_login_at = seen.at WHERE {later}"
            )
        }
        // A locking SELECT has an order; an UPDATE has none.
        Dialect::Postgres | Dialect::Sqlite => {
            let seen = vec!["(CAST(? AS TEXT), CAST(? AS BIGINT))"; rows].join(",");
            let lock = dialect.for_update();
            format!(
                "WITH seen (name, at) AS (VALUES {seen}), \
                 later (name, at) AS (SELECT users.name, seen.at FROM seen JOIN users ON users.name = seen.name \
                 WHERE {later} ORDER BY users.name{lock}) \
                 UPDATE users SET last_login_at = later.at FROM later WHERE users.name = later.name"
            )
        }
    }
}
