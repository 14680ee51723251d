//! What differs between the databases.

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MySQL 8.0.17 or MariaDB 10.2, and later.
    MySql,
    /// PostgreSQL 12 and later.
    Postgres,
    /// The one that is compiled in.
    Sqlite,
}

impl Dialect {
    /// Its name in OpenTelemetry's conventions. MariaDB is not told from MySQL.
    pub(super) const fn system(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::Postgres => "postgresql",
            Self::Sqlite => "sqlite",
        }
    }

    /// The statement with this database's placeholders. No statement of ours has a `?` within quotes.
    pub(super) fn placed(self, sql: &str) -> String {
        if self != Self::Postgres {
            return sql.to_owned();
        }
        let mut placed = String::with_capacity(sql.len() * 2);
        let mut number = 0;
        for (part, text) in sql.split('?').enumerate() {
            if part > 0 {
                number += 1;
                placed.push_str(&format!("${number}"));
            }
            placed.push_str(text);
        }
        placed
    }

    /// What turns an `INSERT` into an upsert: the columns take the new row's values where `key` is there already.
    ///
    /// MySQL takes a conflict on any unique index for one on `key`: only for tables that have no other.
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

    /// An `INSERT` that does nothing where `key` is there already: `into` is the table, its columns and values.
    ///
    /// MySQL also cuts what does not fit, instead of refusing: only for values of known length.
    pub(super) fn insert_new(self, into: &str, key: &str) -> String {
        match self {
            Self::MySql => format!("INSERT IGNORE INTO {into}"),
            Self::Postgres | Self::Sqlite => format!("INSERT INTO {into} ON CONFLICT ({key}) DO NOTHING"),
        }
    }

    /// What makes a `SELECT` lock its rows. SQLite has no row locks: a batch holds the only writer's place.
    pub(super) const fn for_update(self) -> &'static str {
        match self {
            Self::MySql | Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }

    /// What opens a transaction that will write.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            // Isolation is the session's: READ COMMITTED.
            Self::MySql => "START TRANSACTION",
            Self::Postgres => "BEGIN",
            // Takes the writer's place at once: one that reads first and then wants to write may be refused.
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_for_postgres_alone() {
        let sql = "SELECT a FROM t WHERE a = ? AND b IN (?,?)";
        assert_eq!(Dialect::Postgres.placed(sql), "SELECT a FROM t WHERE a = $1 AND b IN ($2,$3)");
        assert_eq!(Dialect::MySql.placed(sql), sql);
        assert_eq!(Dialect::Sqlite.placed("BEGIN"), "BEGIN");
    }
}
