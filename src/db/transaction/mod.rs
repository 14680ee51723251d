//! One transaction: the consumer's reads and writes for a batch of commands.
//!
//! A transaction in which a statement failed can only be dropped, whatever the database would allow: PostgreSQL has
//! aborted it, and the others would commit a part of it.

mod reads;
mod writes;

use std::collections::HashSet;
use std::sync::Arc;

use crate::backoff::CircuitBreaker;

use super::Database;
use super::error::DbError;
use super::pooled_connection::PooledConnection;
use super::query_metrics::Query;
use super::row::Row;
use super::value::Value;

/// An open transaction. Dropping it without [`DbTransaction::commit`] rolls it back.
pub struct DbTransaction {
    connection: PooledConnection,
    breaker: Arc<CircuitBreaker>,
    failed: bool,
    /// Users read whose columns are partly in `user_extras`. Writing all of their columns deletes that row.
    deferred: HashSet<String>,
}

impl Database {
    /// Begins a transaction.
    pub async fn begin(&self) -> Result<DbTransaction, DbError> {
        let mut connection = self.connection().await?;
        connection.begin().await?;
        Ok(DbTransaction {
            connection,
            breaker: Arc::clone(&self.breaker),
            failed: false,
            deferred: HashSet::new(),
        })
    }
}

impl DbTransaction {
    /// Commits the transaction. After an error it is unknown whether it was committed: the outcome rows show it.
    pub async fn commit(mut self) -> Result<(), DbError> {
        if self.failed {
            return Err(DbError::Busy("a statement of the transaction failed".to_owned()));
        }
        self.connection.commit().await?;
        self.breaker.record_success();
        Ok(())
    }

    async fn fetch(&mut self, query: Query, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, DbError> {
        // Set beforehand: a call that is dropped half-way has failed too.
        let failed = std::mem::replace(&mut self.failed, true);
        let rows = self.connection.fetch(query, sql, values).await?;
        self.failed = failed;
        Ok(rows)
    }

    async fn execute(&mut self, query: Query, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
        let failed = std::mem::replace(&mut self.failed, true);
        let rows = self.connection.execute(query, sql, values).await?;
        self.failed = failed;
        Ok(rows)
    }
}

impl std::fmt::Debug for DbTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("failed", &self.failed).finish_non_exhaustive()
    }
}
