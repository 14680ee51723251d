//! Applying schema migrations.
//!
//! `forebay_migrations` lists the applied migrations, each with a checksum. A migrating process holds a lock of the
//! database. Several daemons that start at once therefore apply each migration once. A migration that a later version
//! applied, or that was changed after it was applied, is an error: an older daemon could damage a newer schema.

use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::units::Timestamp;

use super::dialect::Dialect;
use super::error::DbError;
use super::migrations::Migration;
use super::pooled_connection::{PooledConnection, within};
use super::query_metrics::Query;
use super::{Database, migrations, random, statement_size};

/// Timeout for one statement of a migration, and for the migration lock of another daemon. An index on a table of
/// millions of rows takes minutes.
const STATEMENT_LIMIT: Duration = Duration::from_secs(1800);

/// Timeout for the whole migration.
const LIMIT: Duration = Duration::from_secs(7200);

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS forebay_migrations (name VARCHAR(255) NOT NULL PRIMARY KEY, \
     checksum VARCHAR(64) NOT NULL, applied_at BIGINT NOT NULL)";

impl Database {
    /// Applies the missing migrations and returns their names. Several processes may call it at once.
    pub async fn migrate(&self) -> Result<Vec<String>, DbError> {
        let mut connection = self.connection().await?;
        connection.extend(STATEMENT_LIMIT);
        let applied = within(LIMIT, "the migration", async {
            match connection.dialect() {
                Dialect::MySql => migrate_mysql(&mut connection).await,
                Dialect::Postgres | Dialect::Sqlite => migrate_in_transaction(&mut connection).await,
            }
        });
        let applied = applied.await;
        // Its session has other limits than the pool's connections, and perhaps a lock.
        connection.close();
        applied
    }

    /// The migrations that [`Database::migrate`] would apply. The request is sent even while the circuit breaker is
    /// open; a reply closes it.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbError> {
        let mut connection = self.connection().await?;
        let exists_sql = match connection.dialect() {
            Dialect::MySql => {
                "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = 'forebay_migrations'"
            }
            Dialect::Postgres => {
                "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_name = 'forebay_migrations'"
            }
            Dialect::Sqlite => {
                "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'forebay_migrations'"
            }
        };
        let rows = connection.fetch(Query::Migrate, exists_sql, &[]).await?;
        let dialect = connection.dialect();
        let exists = rows.first().is_some_and(|row| row.int(0).is_ok_and(|count| count > 0));
        let missing =
            if exists { missing(&mut connection).await? } else { migrations::of(dialect).iter().collect() };
        self.breaker.record_success();
        Ok(missing.into_iter().map(|migration| migration.name.to_owned()).collect())
    }

    /// The secret that all daemons on this database share. The first caller creates it.
    pub async fn secret(&self) -> Result<[u8; 32], DbError> {
        self.with_breaker(async |mut connection| shared_secret(&mut connection).await).await
    }
}

async fn shared_secret(connection: &mut PooledConnection) -> Result<[u8; 32], DbError> {
    if let Some(secret) = read_secret(connection).await? {
        return Ok(secret);
    }
    let fresh: [u8; 32] = random::bytes()?;
    let row = format!("shared_secret (id, secret) VALUES {}", statement_size::tuples(1, 2));
    let sql = connection.dialect().insert_new(&row, "id");
    connection.execute(Query::Secret, &sql, &[1.into(), super::value::Value::Bytes(&fresh)]).await?;
    // Another daemon may have created it.
    let secret = read_secret(connection).await?;
    secret.ok_or_else(|| DbError::Refused("the table shared_secret did not keep its row".to_owned()))
}

async fn read_secret(connection: &mut PooledConnection) -> Result<Option<[u8; 32]>, DbError> {
    let rows =
        connection.fetch(Query::Secret, "SELECT secret FROM shared_secret WHERE id = ?", &[1.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let secret = row.bytes(0)?.try_into();
    secret
        .map(Some)
        .map_err(|_| DbError::Refused("the row of shared_secret does not have 32 bytes".to_owned()))
}

/// Applies all migrations or none. The lock ends with the transaction.
async fn migrate_in_transaction(connection: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    // With SQLite the write transaction is the lock.
    connection.begin().await?;
    if connection.dialect() == Dialect::Postgres {
        connection.run(Query::Migrate, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
        // The number is forebay's own: "forebay" in hexadecimal. Such locks belong to the database, not to the server.
        connection.fetch(Query::Migrate, "SELECT pg_advisory_xact_lock(28821907053175161)", &[]).await?;
    }
    let applied = apply(connection).await?;
    connection.commit().await?;
    Ok(applied)
}

async fn migrate_mysql(connection: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    // MariaDB limits changes to tables too; MySQL has no such variable.
    let version = connection.fetch(Query::Migrate, "SELECT VERSION()", &[]).await?;
    if version.first().is_some_and(|row| row.text(0).is_ok_and(|version| version.contains("MariaDB"))) {
        connection.run(Query::Migrate, "SET SESSION max_statement_time = 0").await?;
    }
    // Locks belong to the server, so their name contains the database. Its maximum is 64 characters.
    let rows = connection.fetch(Query::Migrate, "SELECT DATABASE()", &[]).await?;
    let database = rows.first().map(|row| row.text(0)).transpose()?.unwrap_or_default();
    let digest = HEXLOWER.encode(&Sha256::digest(database));
    let name = format!("forebay:{}", &digest[..40]);
    let wait = i64::try_from(STATEMENT_LIMIT.as_secs()).unwrap_or(i64::MAX) - 1;
    let locked =
        connection.fetch(Query::Migrate, "SELECT GET_LOCK(?, ?)", &[(&name).into(), wait.into()]).await?;
    if locked.first().map(|row| row.maybe_int(0)).transpose()?.flatten() != Some(1) {
        return Err(DbError::Busy("another migration is still running".to_owned()));
    }
    // The lock ends with the connection.
    apply(connection).await
}

/// Applies the missing migrations. The caller holds the lock.
async fn apply(connection: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    connection.run(Query::Migrate, CREATE_TABLE).await?;
    let mut applied = Vec::new();
    for migration in missing(connection).await? {
        let named = |error: DbError| match error {
            DbError::Refused(why) => DbError::Refused(format!("migration {}: {why}", migration.name)),
            other => other,
        };
        match connection.run(Query::Migrate, migration.sql).await {
            // Created by a migration that was interrupted before it was recorded.
            Err(error) if error.is_existing_index() => {}
            done => done.map_err(named)?,
        }
        let sql = "INSERT INTO forebay_migrations (name, checksum, applied_at) VALUES (?,?,?)";
        let checksum = migration.checksum();
        let values = [migration.name.into(), (&checksum).into(), Timestamp::now().into()];
        connection.execute(Query::Migrate, sql, &values).await.map_err(named)?;
        applied.push(migration.name.to_owned());
    }
    Ok(applied)
}

/// The migrations that are not applied yet. The applied ones must be known to this version.
async fn missing(connection: &mut PooledConnection) -> Result<Vec<&'static Migration>, DbError> {
    let known = migrations::of(connection.dialect());
    let mut missing: Vec<&Migration> = known.iter().collect();
    let sql = "SELECT name, checksum FROM forebay_migrations ORDER BY name";
    for row in &connection.fetch(Query::Migrate, sql, &[]).await? {
        let (name, checksum) = (row.text(0)?, row.text(1)?);
        let Some(migration) = known.iter().find(|migration| migration.name == name) else {
            return Err(DbError::Refused(format!(
                "another version of forebay applied migration {name}: use a version that contains it"
            )));
        };
        if migration.checksum() != checksum {
            return Err(DbError::Refused(format!(
                "migration {name} differs from the one applied here: use the forebay version that applied it"
            )));
        }
        missing.retain(|migration| migration.name != name);
    }
    Ok(missing)
}
