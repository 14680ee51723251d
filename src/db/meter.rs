//! Metrics of the database: durations by query, the pool's state.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;

use crate::metrics::Metrics;

macro_rules! queries {
    ($($query:ident $name:literal,)*) => {
        /// What a statement is for; the label of its duration.
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
pub(super) struct Meter {
    durations: Vec<Histogram>,
    used: IntGauge,
    idle: IntGauge,
    exhausted: IntCounter,
}

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let duration = |query: &Query| metrics.db_query_seconds.with_label_values(&[query.as_str()]);
        Self {
            durations: Query::ALL.iter().map(duration).collect(),
            used: metrics.db_connections.with_label_values(&["used"]),
            idle: metrics.db_connections.with_label_values(&["idle"]),
            exhausted: metrics.bound_hit.with_label_values(&["db_pool"]),
        }
    }

    /// A statement took so long, whatever came of it.
    pub(super) fn took(&self, query: Query, duration: Duration) {
        if let Some(histogram) = self.durations.get(query as usize) {
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// A caller has to wait, because all connections are in use.
    pub(super) fn exhausted(&self) {
        self.exhausted.inc();
    }

    pub(super) fn connections(&self, size: u32, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.idle.set(idle);
        // The two are not read at one moment.
        self.used.set((i64::from(size) - idle).max(0));
    }
}
