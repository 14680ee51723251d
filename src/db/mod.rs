//! The database of the user service: pools, migrations, queries in named columns, the table of outcomes.
//!
//! The database is MySQL or MariaDB, PostgreSQL, or an embedded SQLite file, chosen by the URL's scheme. Queries are
//! written once, with `?`; differences are in `dialect`. Every call ends: it gets a connection within
//! `acquire_timeout`, and each of its statements a reply within `statement_timeout`. A connection whose reply no caller
//! awaits any more is closed, not reused, because the rest of that reply would be taken for the next statement's. After
//! a failover, connections to the old server are no longer used once one of them has refused a write.
//!
//! Single statements, which requests wait for, pass a circuit breaker. After some failures in a row it refuses them at
//! once, until a probe succeeds. Transactions and migrations bypass it: their callers pause by themselves.
//!
//! Statements have few shapes (`statement_size`): each connection prepares them once and never closes one. Behind a
//! connection pooler (`pooler`) no prepared statement is kept.

mod admin;
mod codes;
mod config;
mod dialect;
mod encoding;
mod error;
mod expired;
mod extras;
mod health;
mod last_logins;
mod metrics;
mod migrate;
mod migrations;
mod pool;
mod pooled_connection;
mod pooler;
mod query_metrics;
mod random;
mod read;
mod retention;
mod retired_connections;
mod row;
mod rows;
mod sessions;
mod statement_size;
mod transaction;
mod url;
mod users;
mod value;

use std::sync::Arc;

use crate::backoff::CircuitBreaker;

pub use config::Config;
pub use encoding::WrongEncoding;
pub use error::DbError;
pub use expired::RetentionPass;
pub use metrics::Metrics;
pub use pooler::Pooler;
pub use retention::{KEEP_OUTCOMES, Retention};
pub use rows::{AuditRow, Holder, OutcomeRow, ParkedRow, UserRow, Version};
pub use sessions::Rotation;
pub use transaction::DbTransaction;
pub use url::DatabaseUrl;

use pool::Pool;
use pooled_connection::{ConnectionContext, PooledConnection};
use pooler::SettingsIgnored;
use query_metrics::{Query, QueryMetrics};

/// The database. Cheap to clone: all clones share one pool.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    context: ConnectionContext,
    breaker: Arc<CircuitBreaker>,
    settings_ignored: SettingsIgnored,
}

impl Database {
    /// Opens the database of `config`. The server may still be unavailable: connections are opened when they are
    /// needed. Errors are only a URL or a password file that cannot be read, and an SQLite file that cannot be created.
    pub async fn connect(config: &Config, metrics: &Metrics) -> Result<Self, DbError> {
        let (retired, settings_ignored) = (Arc::default(), SettingsIgnored::default());
        let pool = Pool::open(config, &retired, &settings_ignored).await?;
        let (open, idle) = (metrics.breaker_open.clone(), pool.clone());
        let gate = CircuitBreaker::new("database", open, move || idle.close_idle());
        let context = ConnectionContext {
            metrics: Arc::new(QueryMetrics::new(metrics)),
            retired,
            returning: Arc::default(),
            limit: config.statement_timeout.0,
            begin_pooled: pool::begin_behind_pooler(config),
        };
        Ok(Self { pool, context, breaker: Arc::new(gate), settings_ignored })
    }

    /// The system's name in OpenTelemetry's conventions (`db.system.name`).
    pub fn system(&self) -> &'static str {
        self.pool.dialect().system()
    }

    /// Checks that the database replies.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.fetch(Query::Ping, "SELECT 1", &[]).await.map(drop)
    }

    /// Whether the circuit breaker is open: calls are refused, except an occasional probe.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Updates the gauges of the pool. Called before each scrape.
    pub fn observe(&self) {
        self.context.metrics.set_connections(self.pool.size(), self.pool.idle());
    }

    /// A connection for one call.
    async fn connection(&self) -> Result<PooledConnection, DbError> {
        if self.pool.exhausted() {
            self.context.metrics.record_exhausted();
        }
        let driver_connection = self.pool.acquire().await?;
        let connection = PooledConnection::new(driver_connection, self.context.clone());
        if self.settings_ignored.get() {
            // The next call opens a new connection and checks again.
            connection.close();
            return Err(DbError::PoolerMismatch(pooler::KEEPS_NO_SETTINGS));
        }
        Ok(connection)
    }

    /// Runs one statement on a connection of its own, and returns its rows.
    async fn fetch(
        &self,
        query: Query,
        sql: &str,
        values: &[value::Value<'_>],
    ) -> Result<Vec<row::Row>, DbError> {
        self.with_breaker(async |mut connection| connection.fetch(query, sql, values).await).await
    }

    /// Runs work that a request waits for, on a connection of its own. Refused at once while the circuit breaker is
    /// open.
    async fn with_breaker<T>(
        &self,
        work: impl AsyncFnOnce(PooledConnection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        // The futures of three drivers are tens of KiB. They are on the heap, so that futures that wait for this one
        // stay small.
        let boxed = Box::pin(async { work(self.connection().await?).await });
        self.breaker.call(boxed).await
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("dialect", &self.pool.dialect()).finish_non_exhaustive()
    }
}
