//! A connection for one call or one transaction, and its return to the pool.
//!
//! A driver's future that is dropped half-way (a timeout, a client that disconnected) leaves a pending reply. The next
//! statement on that connection would take the reply for its own. So a connection is reused only when every statement
//! on it has been answered. Otherwise it is closed, and the server rolls back its open transaction. A reply that makes
//! the connection useless (`codes::ConnectionState`) closes it too.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Database as Driver, Executor, MySql, Postgres, Sqlite};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::codes::ConnectionState;
use super::dialect::Dialect;
use super::error::{DbError, connection_state};
use super::pool::DriverConnection;
use super::query_metrics::{Query, QueryMetrics};
use super::retired_connections::RetiredConnections;
use super::row::Row;
use super::value::Value;
use crate::task::TaskSet;
use crate::units::Span;

/// A connection taken from the pool.
pub(super) struct PooledConnection {
    /// `None` only while this is dropped.
    connection: Option<DriverConnection>,
    /// A statement was sent and its reply has not been read to its end.
    response_pending: bool,
    /// A transaction was begun and not ended.
    in_transaction: bool,
    context: ConnectionContext,
}

/// Settings and shared state that a connection needs for its calls.
#[derive(Clone)]
pub(super) struct ConnectionContext {
    pub(super) metrics: Arc<QueryMetrics>,
    /// Connections that lead to a demoted server.
    pub(super) retired: Arc<RetiredConnections>,
    /// Tasks that return connections to the pool.
    pub(super) returning: Arc<TaskSet>,
    /// Timeout of a caller for the reply to one statement.
    pub(super) limit: Duration,
    /// The statement that begins a transaction behind a pooler. `None` without a pooler: each connection is a session
    /// of the server.
    pub(super) begin_pooled: Option<Arc<str>>,
}

/// Binds the values to the statement, for one driver.
macro_rules! bound {
    ($driver:ty, $sql:expr, $persistent:expr, $values:expr) => {{
        let mut query = sqlx::query::<$driver>(AssertSqlSafe($sql)).persistent($persistent);
        for value in $values {
            query = match *value {
                Value::Text(text) => query.bind(text),
                Value::MaybeText(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
                Value::MaybeInt(number) => query.bind(number),
                Value::Bool(flag) => query.bind(flag),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}

/// Runs the same expression on any of the three connection types.
macro_rules! on {
    ($inner:expr, $connection:ident: $driver:ident => $do:expr) => {
        match $inner {
            DriverConnection::MySql($connection) => {
                type $driver = MySql;
                $do
            }
            DriverConnection::Postgres($connection) => {
                type $driver = Postgres;
                $do
            }
            DriverConnection::Sqlite($connection) => {
                type $driver = Sqlite;
                $do
            }
        }
    };
}

impl PooledConnection {
    pub(super) fn new(inner: DriverConnection, context: ConnectionContext) -> Self {
        Self { connection: Some(inner), response_pending: false, in_transaction: false, context }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.connection {
            Some(DriverConnection::MySql(_)) => Dialect::MySql,
            Some(DriverConnection::Postgres(_)) => Dialect::Postgres,
            Some(DriverConnection::Sqlite(_)) | None => Dialect::Sqlite,
        }
    }

    /// Sets the time limit of later statements. The caller closes the connection in the end.
    pub(super) fn extend(&mut self, limit: Duration) {
        self.context.limit = limit;
    }

    /// Closes the connection instead of returning it to the pool.
    pub(super) fn close(mut self) {
        self.response_pending = true;
    }

    /// Runs a statement that returns rows.
    pub(super) async fn fetch(
        &mut self,
        query: Query,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let sql = self.dialect().with_placeholders(sql);
        self.with_session(query, async |inner, kept| match inner {
            DriverConnection::MySql(c) => {
                let rows = bound!(MySql, sql, kept, values).fetch_all(&mut **c).await?;
                Ok(rows.into_iter().map(Row::MySql).collect())
            }
            DriverConnection::Postgres(c) => {
                let rows = bound!(Postgres, sql, kept, values).fetch_all(&mut **c).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
            DriverConnection::Sqlite(c) => {
                let rows = bound!(Sqlite, sql, kept, values).fetch_all(&mut **c).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
        })
        .await
    }

    /// Runs a statement that changes rows, and returns their number.
    pub(super) async fn execute(
        &mut self,
        query: Query,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let sql = self.dialect().with_placeholders(sql);
        self.with_session(query, async |inner, kept| {
            on!(inner, c: Db => Ok(bound!(Db, sql, kept, values).execute(&mut **c).await?.rows_affected()))
        })
        .await
    }

    /// Runs a text of statements without values, unchanged.
    pub(super) async fn run(&mut self, query: Query, sql: &str) -> Result<(), DbError> {
        self.run_statement(query, async |inner| {
            on!(inner, c: Db => {
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **c).await;
                done.map(|_: <Db as Driver>::QueryResult| ())
            })
        })
        .await
    }

    /// Begins a transaction. Dropping the connection before [`PooledConnection::commit`] rolls it back.
    pub(super) async fn begin(&mut self) -> Result<(), DbError> {
        match self.context.begin_pooled.clone() {
            None => self.run(Query::Begin, self.dialect().begin()).await?,
            Some(begin) => {
                // Also if a setting in it fails: the transaction has begun by then.
                self.in_transaction = true;
                self.run(Query::Begin, &begin).await?;
            }
        }
        self.in_transaction = true;
        Ok(())
    }

    /// Ends the transaction. After an error it is unknown whether the transaction was committed.
    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        let committed = self.run(Query::Commit, "COMMIT").await;
        self.in_transaction = committed.is_err();
        committed.map_err(|error| DbError::Busy(format!("a commit was not confirmed: {error}")))
    }

    /// Runs `work` within one session of the server. A statement is prepared and executed in two steps. Behind a pooler
    /// only a transaction keeps both steps in the same session, so a single statement gets a transaction of its own.
    /// The argument of `work` is whether its prepared statement may be kept.
    async fn with_session<T>(
        &mut self,
        query: Query,
        work: impl AsyncFnOnce(&mut DriverConnection, bool) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbError> {
        let pooled = self.context.begin_pooled.is_some();
        let alone = pooled && !self.in_transaction;
        if alone {
            self.begin().await?;
        }
        let reply = self.run_statement(query, async |inner| work(inner, !pooled).await).await;
        match (alone, reply.is_ok()) {
            (false, _) => {}
            (true, true) => self.commit().await?,
            // The result is the error. If the rollback fails, it is repeated when the connection returns to the pool.
            (true, false) => self.in_transaction = self.run(Query::Commit, "ROLLBACK").await.is_err(),
        }
        reply
    }

    /// Runs a statement, with the time limit. The connection must not be reused before the whole reply has been read.
    async fn run_statement<T>(
        &mut self,
        query: Query,
        work: impl AsyncFnOnce(&mut DriverConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbError> {
        let Some(inner) = self.connection.as_mut().filter(|_| !self.response_pending) else {
            return Err(DbError::Busy("an earlier statement of this connection failed".to_owned()));
        };
        self.response_pending = true;
        let begun = Instant::now();
        let replied = timeout(self.context.limit, work(inner)).await;
        self.context.metrics.record_duration(query, begun.elapsed());
        match replied {
            Ok(Ok(reply)) => {
                self.response_pending = false;
                Ok(reply)
            }
            Ok(Err(error)) => {
                let conn_state = connection_state(&error);
                self.response_pending = conn_state != ConnectionState::Usable;
                let error = DbError::from_sqlx(&error);
                if conn_state == ConnectionState::Demoted && self.context.retired.retire_all(Instant::now()) {
                    tracing::info!(
                        event = "db.connections_retired",
                        %error,
                        "the server accepts no writes; replacing its connections"
                    );
                }
                Err(error)
            }
            Err(_) => Err(DbError::Unavailable(format!("no reply to `{}` in time", query.as_str()))),
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(inner) = self.connection.take() else { return };
        let reuse = Handle::try_current().ok().filter(|_| !self.response_pending);
        on!(inner, c: Db => match reuse {
            // Ends within twice the limit. The driver would do the same itself, but without a limit, and so would wait
            // indefinitely for a frozen server.
            Some(runtime) => self.context.returning.spawn(&runtime, return_to_pool::<Db>(c, self.in_transaction, self.context.limit)),
            // Detached first: the pool would send a request to the server to check the connection.
            None => drop(c.detach()),
        });
    }
}

/// Returns a connection to its pool; rolls back first if a transaction is open.
async fn return_to_pool<DB: Driver>(mut connection: PoolConnection<DB>, open: bool, limit: Duration)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    if open {
        let rolled_back = timeout(limit, sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            // Closed: the server rolls back.
            drop(connection.detach());
            return;
        }
    }
    // On timeout the connection is closed.
    let _ = timeout(limit, connection.return_to_pool()).await;
}

/// Waits for the future, up to the limit.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, DbError>>,
) -> Result<T, DbError> {
    let late = || DbError::Busy(format!("{what} took longer than {}", Span(limit)));
    timeout(limit, work).await.map_err(|_| late())?
}
