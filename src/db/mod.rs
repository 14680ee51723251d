//! The database of the user service: pools, migrations, queries in named columns, the table of outcomes.
//!
//! MySQL or MariaDB, PostgreSQL, or an embedded SQLite file, told apart by the URL's scheme. Queries are written once,
//! with `?`; what differs stands in `dialect`. Every call ends: within `acquire_timeout` it has a connection, within
//! `statement_timeout` each of its statements an answer. A connection whose answer nobody waits for any more is closed,
//! not reused: what still comes on it belongs to another question. After a failover no connection to the old server is
//! used once that has refused a write.
//!
//! Single statements, which requests wait for, pass a gate: after some failures in a row they are refused at once until
//! a probe is answered. Transactions and migrations do not: whoever makes them pauses by itself.
//!
//! Statements have few shapes (`statement_size`): each connection prepares them once and never closes one. Behind a connection
//! pooler (`pooler`) none is kept.

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
    /// The database of `config`. Nobody need be there yet: connections are opened when they are needed. Only a URL or a
    /// password file that cannot be read is an error here, and an SQLite file that cannot be made.
    pub async fn connect(config: &Config, metrics: &Metrics) -> Result<Self, DbError> {
        let (retired, settings_ignored) = (Arc::default(), SettingsIgnored::default());
        let pool = Pool::open(config, &retired, &settings_ignored).await?;
        let (open, idle) = (metrics.breaker_open.clone(), pool.clone());
        let gate = CircuitBreaker::new("database", open, move || idle.close_idle());
        let terms = ConnectionContext {
            metrics: Arc::new(QueryMetrics::new(metrics)),
            retired,
            returning: Arc::default(),
            limit: config.statement_timeout.0,
            begin_pooled: pool::begin_behind_pooler(config),
        };
        Ok(Self { pool, context: terms, breaker: Arc::new(gate), settings_ignored })
    }

    /// Its name in OpenTelemetry's conventions (`db.system.name`).
    pub fn system(&self) -> &'static str {
        self.pool.dialect().system()
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.fetch(Query::Ping, "SELECT 1", &[]).await.map(drop)
    }

    /// Whether calls are refused at the moment, but for one now and then that looks whether the database is back.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Sets the gauges of the pool. Called before each scrape.
    pub fn observe(&self) {
        self.context.metrics.set_connections(self.pool.size(), self.pool.idle());
    }

    /// A connection for one call.
    async fn connection(&self) -> Result<PooledConnection, DbError> {
        if self.pool.exhausted() {
            self.context.metrics.record_exhausted();
        }
        let connection = self.pool.acquire().await?;
        let lease = PooledConnection::new(connection, self.context.clone());
        if self.settings_ignored.get() {
            // The next call makes a new one, and looks again.
            lease.close();
            return Err(DbError::PoolerMismatch(pooler::KEEPS_NO_SETTINGS));
        }
        Ok(lease)
    }

    /// One statement on a connection of its own, as rows.
    async fn fetch(
        &self,
        query: Query,
        sql: &str,
        values: &[value::Value<'_>],
    ) -> Result<Vec<row::Row>, DbError> {
        self.with_breaker(async |mut lease| lease.fetch(query, sql, values).await).await
    }

    /// What somebody waits for, on a connection of its own: refused at once while the database is away.
    async fn with_breaker<T>(
        &self,
        work: impl AsyncFnOnce(PooledConnection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        // Three drivers' futures are tens of KiB: on the heap, so that not every future that waits for this is as large.
        let boxed = Box::pin(async { work(self.connection().await?).await });
        self.breaker.call(boxed).await
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("dialect", &self.pool.dialect()).finish_non_exhaustive()
    }
}
