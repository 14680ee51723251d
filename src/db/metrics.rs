//! Metrics of the database.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{Registry, buckets};

/// Metrics of the database, as registered.
pub struct Metrics {
    /// Connections by state: `used`, `idle`.
    pub connections: IntGaugeVec,
    /// Duration of a statement, by query.
    pub query_seconds: HistogramVec,
    /// Deleted expired rows, by table.
    pub retention_deleted: IntCounterVec,
    /// Time since the oldest remaining row expired, by table, in seconds. 0 if no expired row remains.
    pub retention_lag: IntGaugeVec,
    /// 1 while calls are refused because the database was unavailable.
    pub breaker_open: IntGauge,
    /// Times that all connections were in use.
    pub pool_hit: IntCounter,
    /// Passes that left expired rows behind.
    pub retention_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            connections: registry.gauges(
                "db_connections",
                "Database connections, by state: used, idle. Worry when used stays at max_connections.",
                "state",
                &["used", "idle"],
            )?,
            query_seconds: registry.histograms(
                "db_query_seconds",
                "Duration of a statement, by query, in seconds. Worry when the 95th percentile is above 0.1.",
                buckets::DATABASE_SECONDS,
                &["query"],
            )?,
            retention_deleted: registry.counters(
                "forebay_retention_deleted_total",
                "Expired rows deleted from the database, by table. No reason to worry.",
                "table",
                &[],
            )?,
            retention_lag: registry.gauges(
                "forebay_retention_lag_seconds",
                "How long the oldest remaining row has been expired, by table, in seconds; 0: none. Worry \
                 above a day: personal data is kept too long.",
                "table",
                &[],
            )?,
            breaker_open: registry.breaker_open("database"),
            pool_hit: registry.bound_hit("db_pool"),
            retention_hit: registry.bound_hit("retention"),
        })
    }
}
