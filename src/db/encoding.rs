//! Checking that the database stores every character.
//!
//! Nicknames and names of callers may contain any character. Without this check, the first emoji would be accepted and
//! then refused when it is applied, long afterwards.

use std::fmt;

use super::Database;
use super::dialect::Dialect;
use super::error::DbError;
use super::pooled_connection::PooledConnection;
use super::query_metrics::Query;

/// Columns that need not store every character: forebay's identifiers and digests, and telephone numbers. The list
/// equals the migrations' ASCII columns.
const ASCII: [(&str, &str); 8] = [
    ("users", "phone"),
    ("users", "password_hash"),
    ("users", "applied_id"),
    ("command_outcomes", "id"),
    ("audit", "id"),
    ("parked_commands", "id"),
    ("deleted_users", "applied_id"),
    ("login_sessions", "id"),
];

/// A database that cannot store every character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongEncoding {
    /// The encoding that was found.
    pub found: String,
    /// The encoding that is needed, and how to get it.
    pub remedy: &'static str,
}

impl fmt::Display for WrongEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; needed: {}", self.found, self.remedy)
    }
}

impl Database {
    /// Reports an encoding that cannot store every character, if the database has one. The request is sent even while
    /// the circuit breaker is open; a reply closes it.
    pub async fn wrong_encoding(&self) -> Result<Option<WrongEncoding>, DbError> {
        let mut connection = self.connection().await?;
        let wrong = match connection.dialect() {
            Dialect::Postgres => check_postgres(&mut connection).await?,
            Dialect::MySql => check_mysql(&mut connection).await?,
            // Text is Unicode, whatever the file's encoding.
            Dialect::Sqlite => None,
        };
        self.breaker.record_success();
        Ok(wrong)
    }
}

/// A PostgreSQL database's encoding cannot be changed. SQL_ASCII accepts any bytes from any client, and returns invalid
/// text.
async fn check_postgres(connection: &mut PooledConnection) -> Result<Option<WrongEncoding>, DbError> {
    let sql = "SELECT current_setting('server_encoding')";
    let encoding = query_text(connection, sql).await?;
    Ok((encoding != "UTF8").then(|| WrongEncoding {
        found: format!("a database with encoding {encoding}"),
        remedy: "one made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
    }))
}

/// The database's default does not matter: the migrations name a character set for each table. An operator may have
/// changed it since.
async fn check_mysql(connection: &mut PooledConnection) -> Result<Option<WrongEncoding>, DbError> {
    let charset = query_text(connection, "SELECT CAST(@@character_set_client AS CHAR)").await?;
    if charset != "utf8mb4" {
        return Ok(Some(WrongEncoding {
            found: format!("connections with character set {charset}"),
            remedy: "utf8mb4, as it is without `charset` in the url",
        }));
    }
    let ascii = ASCII.map(|(table, column)| format!("('{table}', '{column}')")).join(", ");
    let sql = format!(
        "SELECT CAST(CONCAT(table_name, '.', column_name, ' with character set ', character_set_name) AS CHAR) \
         FROM information_schema.columns WHERE table_schema = DATABASE() AND character_set_name <> 'utf8mb4' \
         AND table_name IN ('users', 'command_outcomes', 'audit', 'parked_commands', 'deleted_users', 'user_extras', \
         'login_sessions') AND NOT (character_set_name = 'ascii' AND (table_name, column_name) IN ({ascii})) \
         ORDER BY table_name, ordinal_position LIMIT 1"
    );
    let rows = connection.fetch(Query::Check, &sql, &[]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(WrongEncoding {
        found: format!("column {}", row.text(0)?),
        remedy: "CHARACTER SET utf8mb4, by ALTER TABLE … MODIFY with the type and collation of forebay's migration",
    }))
}

async fn query_text(connection: &mut PooledConnection, sql: &str) -> Result<String, DbError> {
    let rows = connection.fetch(Query::Check, sql, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| DbError::Refused("the database did not report its encoding".to_owned()))?;
    row.text(0)
}

#[cfg(test)]
mod tests {
    use crate::db::migrations;

    use super::*;

    /// The columns with a character set of their own, by table, in the order of the migrations.
    fn ascii_in_migrations() -> Vec<(&'static str, &'static str)> {
        let mut columns = Vec::new();
        for migration in migrations::of(Dialect::MySql) {
            let mut table = "";
            for line in migration.sql.lines() {
                match line.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
                    Some(rest) => table = rest.trim_end_matches(" ("),
                    None if line.contains("CHARACTER SET ascii") => {
                        columns.push((table, line.split_whitespace().next().unwrap()));
                    }
                    None => {}
                }
            }
        }
        columns
    }

    #[test]
    fn ascii_columns_equal_those_of_the_migrations() {
        assert_eq!(ascii_in_migrations(), ASCII);
    }
}
