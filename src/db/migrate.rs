//! Bringing the schema up to date.
//!
//! `forebay_migrations` says what was applied, with a checksum. Whoever migrates holds a lock of the database, so that
//! several daemons that start at once apply each migration once. What a later version applied, or what was changed after
//! it was applied, is an error: an older daemon on a newer schema may spoil what it does not know.

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

/// A statement of a migration, or another daemon's migration that is waited for. An index on a table of millions of rows
/// takes minutes.
const STATEMENT_LIMIT: Duration = Duration::from_secs(1800);

/// The whole of it.
const LIMIT: Duration = Duration::from_secs(7200);

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS forebay_migrations (name VARCHAR(255) NOT NULL PRIMARY KEY, \
     checksum VARCHAR(64) NOT NULL, applied_at BIGINT NOT NULL)";

impl Database {
    /// Applies what is missing and says what that was. Several may do it at once.
    pub async fn migrate(&self) -> Result<Vec<String>, DbError> {
        let mut lease = self.connection().await?;
        lease.extend(STATEMENT_LIMIT);
        let applied = within(LIMIT, "the migration", async {
            match lease.dialect() {
                Dialect::MySql => migrate_mysql(&mut lease).await,
                Dialect::Postgres | Dialect::Sqlite => migrate_in_transaction(&mut lease).await,
            }
        });
        let applied = applied.await;
        // Its session has other limits than the pool's, and perhaps a lock.
        lease.close();
        applied
    }

    /// What [`Database::migrate`] would apply. Asks also while calls are refused: an answer ends that.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbError> {
        let mut lease = self.connection().await?;
        let there = match lease.dialect() {
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
        let rows = lease.fetch(Query::Migrate, there, &[]).await?;
        let dialect = lease.dialect();
        let exists = rows.first().is_some_and(|row| row.int(0).is_ok_and(|count| count > 0));
        let missing =
            if exists { missing(&mut lease).await? } else { migrations::of(dialect).iter().collect() };
        self.breaker.record_success();
        Ok(missing.into_iter().map(|migration| migration.name.to_owned()).collect())
    }

    /// The secret that all daemons on this database share; the first who asks makes it.
    pub async fn secret(&self) -> Result<[u8; 32], DbError> {
        self.with_breaker(async |mut lease| shared_secret(&mut lease).await).await
    }
}

async fn shared_secret(lease: &mut PooledConnection) -> Result<[u8; 32], DbError> {
    if let Some(secret) = read_secret(lease).await? {
        return Ok(secret);
    }
    let fresh: [u8; 32] = random::bytes()?;
    let row = format!("shared_secret (id, secret) VALUES {}", statement_size::tuples(1, 2));
    let sql = lease.dialect().insert_new(&row, "id");
    lease.execute(Query::Secret, &sql, &[1.into(), super::value::Value::Bytes(&fresh)]).await?;
    // Perhaps another daemon's.
    let secret = read_secret(lease).await?;
    secret.ok_or_else(|| DbError::Refused("shared_secret keeps no row".to_owned()))
}

async fn read_secret(lease: &mut PooledConnection) -> Result<Option<[u8; 32]>, DbError> {
    let rows =
        lease.fetch(Query::Secret, "SELECT secret FROM shared_secret WHERE id = ?", &[1.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let secret = row.bytes(0)?.try_into();
    secret.map(Some).map_err(|_| DbError::Refused("the row of shared_secret has not 32 bytes".to_owned()))
}

/// All or nothing, and the lock ends with the transaction.
async fn migrate_in_transaction(lease: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    // With SQLite this is the lock.
    lease.begin().await?;
    if lease.dialect() == Dialect::Postgres {
        lease.run(Query::Migrate, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
        // The number is ours alone: "forebay" in hexadecimal. Such locks are the database's, not the server's.
        lease.fetch(Query::Migrate, "SELECT pg_advisory_xact_lock(28821907053175161)", &[]).await?;
    }
    let applied = apply(lease).await?;
    lease.commit().await?;
    Ok(applied)
}

async fn migrate_mysql(lease: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    // MariaDB limits changes to tables too; MySQL has no such variable.
    let version = lease.fetch(Query::Migrate, "SELECT VERSION()", &[]).await?;
    if version.first().is_some_and(|row| row.text(0).is_ok_and(|version| version.contains("MariaDB"))) {
        lease.run(Query::Migrate, "SET SESSION max_statement_time = 0").await?;
    }
    // Locks are the server's, so that the name has to say which database; at most 64 characters.
    let rows = lease.fetch(Query::Migrate, "SELECT DATABASE()", &[]).await?;
    let database = rows.first().map(|row| row.text(0)).transpose()?.unwrap_or_default();
    let digest = HEXLOWER.encode(&Sha256::digest(database));
    let name = format!("forebay:{}", &digest[..40]);
    let wait = i64::try_from(STATEMENT_LIMIT.as_secs()).unwrap_or(i64::MAX) - 1;
    let locked = lease.fetch(Query::Migrate, "SELECT GET_LOCK(?, ?)", &[(&name).into(), wait.into()]).await?;
    if locked.first().map(|row| row.maybe_int(0)).transpose()?.flatten() != Some(1) {
        return Err(DbError::Busy("another migration does not end".to_owned()));
    }
    // The lock ends with the connection.
    apply(lease).await
}

/// Under the lock.
async fn apply(lease: &mut PooledConnection) -> Result<Vec<String>, DbError> {
    lease.run(Query::Migrate, CREATE_TABLE).await?;
    let mut applied = Vec::new();
    for migration in missing(lease).await? {
        let named = |error: DbError| match error {
            DbError::Refused(why) => DbError::Refused(format!("migration {}: {why}", migration.name)),
            other => other,
        };
        match lease.run(Query::Migrate, migration.sql).await {
            // Made by a migration that was interrupted before it was recorded.
            Err(error) if error.is_existing_index() => {}
            done => done.map_err(named)?,
        }
        let sql = "INSERT INTO forebay_migrations (name, checksum, applied_at) VALUES (?,?,?)";
        let checksum = migration.checksum();
        let values = [migration.name.into(), (&checksum).into(), Timestamp::now().into()];
        lease.execute(Query::Migrate, sql, &values).await.map_err(named)?;
        applied.push(migration.name.to_owned());
    }
    Ok(applied)
}

/// What was not applied yet. What was, must be what this version knows.
async fn missing(lease: &mut PooledConnection) -> Result<Vec<&'static Migration>, DbError> {
    let known = migrations::of(lease.dialect());
    let mut missing: Vec<&Migration> = known.iter().collect();
    let sql = "SELECT name, checksum FROM forebay_migrations ORDER BY name";
    for row in &lease.fetch(Query::Migrate, sql, &[]).await? {
        let (name, checksum) = (row.text(0)?, row.text(1)?);
        let Some(migration) = known.iter().find(|migration| migration.name == name) else {
            return Err(DbError::Refused(format!(
                "its schema is of another forebay, which applied migration {name}: use one that knows it"
            )));
        };
        if migration.checksum() != checksum {
            return Err(DbError::Refused(format!(
                "migration {name} is not the one that was applied here: use the forebay that applied it"
            )));
        }
        missing.retain(|migration| migration.name != name);
    }
    Ok(missing)
}
