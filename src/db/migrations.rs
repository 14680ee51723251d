//! The migrations, compiled in: `migrations/{mysql,postgres,sqlite}/NNNN_name.sql`.
//!
//! Each migration can run again without effect (`IF NOT EXISTS`; an index that already exists in MySQL counts as
//! created). The reason is MySQL, where schema changes belong to no transaction, so a migration may be applied but not
//! recorded. For the same reason a file for MySQL is one statement. A released file is never changed: databases store
//! its checksum.

use sha2::{Digest, Sha256};

use super::dialect::Dialect;

/// One migration file.
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

impl Migration {
    /// SHA-256 of the file, in hexadecimal.
    pub(super) fn checksum(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(self.sql))
    }
}

macro_rules! migration {
    ($dialect:literal, $name:literal) => {
        Migration {
            name: $name,
            sql: include_str!(concat!("../../migrations/", $dialect, "/", $name, ".sql")),
        }
    };
}

/// Compiles in the named files. Every dialect has every file.
macro_rules! migrations {
    ($($name:literal,)*) => {
        const MYSQL: &[Migration] = &[$(migration!("mysql", $name),)*];
        const POSTGRES: &[Migration] = &[$(migration!("postgres", $name),)*];
        const SQLITE: &[Migration] = &[$(migration!("sqlite", $name),)*];
    };
}

migrations! {
    "0001_users",
    "0002_command_outcomes",
    "0003_audit",
    "0004_parked_commands",
    "0005_deleted_users",
    "0006_user_extras",
    "0007_shared_secret",
    "0008_sessions",
    "0009_audit_at",
}

/// All migrations of a database, in order.
pub(super) fn of(dialect: Dialect) -> &'static [Migration] {
    match dialect {
        Dialect::MySql => MYSQL,
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_migration_file_is_compiled_in_and_in_order() {
        for (dialect, dir) in
            [(Dialect::MySql, "mysql"), (Dialect::Postgres, "postgres"), (Dialect::Sqlite, "sqlite")]
        {
            let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dir);
            let names =
                fs::read_dir(files).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let files: BTreeSet<String> = names.collect();
            let compiled: Vec<String> = of(dialect).iter().map(|m| format!("{}.sql", m.name)).collect();
            assert_eq!(compiled, files.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_mysql_file_is_one_statement() {
        for migration in MYSQL {
            assert!(!migration.sql.contains(';'), "{}", migration.name);
        }
    }
}
