//! Metrics of the database: durations by query, the pool's state.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntGauge};

use super::metrics::Metrics;
use super::retention::Table;

macro_rules! queries {
    ($($query:ident $name:literal,)*) => {
        /// The purpose of a statement; the label of its duration.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Query { $($query,)* }

        impl Query {
            const ALL: &[Self] = &[$(Self::$query,)*];

            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$query => $name,)* }
            }
        }
    };
}

queries! {
    Ping "ping",
    Check "check",
    Secret "secret",
    User "user",
    Holders "holders",
    UsersAfter "users_after",
    Outcomes "outcomes",
    Begin "begin",
    Commit "commit",
    KnownOutcomes "known_outcomes",
    Parked "parked",
    UsersForUpdate "users_for_update",
    HoldersOf "holders_of",
    Tombstones "tombstones",
    InsertUsers "insert_users",
    UpdateUsers "update_users",
    DeleteUsers "delete_users",
    PutTombstones "put_tombstones",
    PutExtras "put_extras",
    InsertOutcomes "insert_outcomes",
    InsertAudit "insert_audit",
    Park "park",
    Unpark "unpark",
    RotateSession "rotate_session",
    EndSession "end_session",
    SessionEnded "session_ended",
    LastLogins "last_logins",
    Forget "forget",
    MergeExtras "merge_extras",
    Migrate "migrate",
}

/// The metrics, with their label children resolved once.
pub(super) struct QueryMetrics {
    query_seconds: HistogramVec,
    /// One histogram per [`Query`], created by its first statement: the buckets of all are hundreds of series.
    durations: [OnceLock<Histogram>; Query::ALL.len()],
    used: IntGauge,
    idle: IntGauge,
    exhausted: IntCounter,
    /// One pair per [`Table`], in that order.
    expired: Vec<(IntCounter, IntGauge)>,
    left_behind: IntCounter,
}

impl QueryMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let expired = |table: &Table| {
            let table = [table.name()];
            let deleted = metrics.retention_deleted.with_label_values(&table);
            (deleted, metrics.retention_lag.with_label_values(&table))
        };
        Self {
            query_seconds: metrics.query_seconds.clone(),
            durations: [const { OnceLock::new() }; Query::ALL.len()],
            used: metrics.connections.with_label_values(&["used"]),
            idle: metrics.connections.with_label_values(&["idle"]),
            exhausted: metrics.pool_hit.clone(),
            expired: Table::ALL.iter().map(expired).collect(),
            left_behind: metrics.retention_hit.clone(),
        }
    }

    /// Records a statement's duration, whatever its result.
    pub(super) fn record_duration(&self, query: Query, duration: Duration) {
        if let Some(histogram) = self.durations.get(query as usize) {
            let of_query = || self.query_seconds.with_label_values(&[query.as_str()]);
            histogram.get_or_init(of_query).observe(duration.as_secs_f64());
        }
    }

    /// Records that a caller has to wait because all connections are in use.
    pub(super) fn record_exhausted(&self) {
        self.exhausted.inc();
    }

    /// Records deleted expired rows of a table.
    pub(super) fn record_deleted(&self, table: Table, rows: u64) {
        if let Some((counter, _)) = self.expired.get(table as usize) {
            counter.inc_by(rows);
        }
    }

    /// Sets the time since the oldest remaining row of a table expired. Zero if no expired row remains.
    pub(super) fn set_lag(&self, table: Table, behind: Duration) {
        if let Some((_, gauge)) = self.expired.get(table as usize) {
            gauge.set(i64::try_from(behind.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Records that a pass ended while expired rows were left, or that a table could not be read.
    pub(super) fn record_retention_behind(&self) {
        self.left_behind.inc();
    }

    pub(super) fn set_connections(&self, size: u32, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.idle.set(idle);
        // The two values are not read at the same moment.
        self.used.set((i64::from(size) - idle).max(0));
    }
}
