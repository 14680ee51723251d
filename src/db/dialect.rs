//! Differences between the supported databases.

/// A supported database system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MySQL 8.0.17 or MariaDB 10.2, and later.
    MySql,
    /// PostgreSQL 12 and later.
    Postgres,
    /// The embedded database, compiled into the binary.
    Sqlite,
}

impl Dialect {
    /// The system's name in OpenTelemetry's conventions. MariaDB is reported as MySQL.
    pub(super) const fn system(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::Postgres => "postgresql",
            Self::Sqlite => "sqlite",
        }
    }

    /// The statement with this database's placeholders. forebay's statements have no `?` within quotes.
    pub(super) fn with_placeholders(self, sql: &str) -> String {
        if self != Self::Postgres {
            return sql.to_owned();
        }
        let mut with_placeholders = String::with_capacity(sql.len() * 2);
        let mut number = 0;
        for (part, text) in sql.split('?').enumerate() {
            if part > 0 {
                number += 1;
                with_placeholders.push_str(&format!("${number}"));
            }
            with_placeholders.push_str(text);
        }
        with_placeholders
    }

    /// The clause that makes an `INSERT` an upsert: where `key` already exists, the columns take the new row's values.
    ///
    /// Use it only for tables that have no other unique index: MySQL treats a conflict on any unique index as one on
    /// `key`.
    pub(super) fn or_update(self, key: &str, columns: &[&str]) -> String {
        let one = |column: &&str| match self {
            Self::MySql => format!("{column} = VALUES({column})"),
            Self::Postgres | Self::Sqlite => format!("{column} = excluded.{column}"),
        };
        let all: Vec<String> = columns.iter().map(one).collect();
        match self {
            Self::MySql => format!(" ON DUPLICATE KEY UPDATE {}", all.join(", ")),
            Self::Postgres | Self::Sqlite => format!(" ON CONFLICT ({key}) DO UPDATE SET {}", all.join(", ")),
        }
    }

    /// An `INSERT` that does nothing where `key` already exists. `into` is the table, its columns and values.
    ///
    /// Use it only for values of known length: MySQL also truncates values that are too long, instead of refusing them.
    pub(super) fn insert_new(self, into: &str, key: &str) -> String {
        match self {
            Self::MySql => format!("INSERT IGNORE INTO {into}"),
            Self::Postgres | Self::Sqlite => format!("INSERT INTO {into} ON CONFLICT ({key}) DO NOTHING"),
        }
    }

    /// The clause that locks the rows of a `SELECT`. SQLite has no row locks: a batch holds the only write lock.
    pub(super) const fn for_update(self) -> &'static str {
        match self {
            Self::MySql | Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }

    /// The statement that opens a write transaction.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            // The session sets the isolation level: READ COMMITTED.
            Self::MySql => "START TRANSACTION",
            Self::Postgres => "BEGIN",
            // Takes the write lock at once: a transaction that reads first and writes later may be refused.
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_only_for_postgres() {
        let sql = "SELECT a FROM t WHERE a = ? AND b IN (?,?)";
        assert_eq!(Dialect::Postgres.with_placeholders(sql), "SELECT a FROM t WHERE a = $1 AND b IN ($2,$3)");
        assert_eq!(Dialect::MySql.with_placeholders(sql), sql);
        assert_eq!(Dialect::Sqlite.with_placeholders("BEGIN"), "BEGIN");
    }
}
