//! Task that deletes expired rows, and its log lines.

use std::time::Duration;

use crate::backoff;
use crate::db::{Database, Retention, RetentionPass};
use crate::units::{Span, Timestamp};

/// Interval between two passes over expired rows.
const PASS_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum duration of a pass. If a pass does not finish, the next one starts at once: rows of every table that have
/// expired meanwhile are then included, and metrics show that the database does not keep up.
const PASS_TIMEOUT: Duration = Duration::from_secs(60);

/// Deletes rows as they expire. Daemons share the tables, so a consumer alone need not run this. The passes of several
/// daemons run at different times.
pub(super) async fn delete_expired(db: Database, retention: Retention) {
    let mut report = RetentionLogger { audit: retention.audit, last_skipped: None, audit_logged: false };
    let mut cut_short = false;
    loop {
        if !cut_short {
            tokio::time::sleep(PASS_INTERVAL.mul_f64(0.5 + backoff::random_fraction())).await;
        }
        let pass = db.delete_expired(&retention, Timestamp::now(), PASS_TIMEOUT).await;
        cut_short = pass.cut_short;
        report.log_pass(&pass);
    }
}

/// State for log lines that are written once.
struct RetentionLogger {
    audit: Option<Duration>,
    last_skipped: Option<String>,
    audit_logged: bool,
}

impl RetentionLogger {
    fn log_pass(&mut self, pass: &RetentionPass) {
        self.log_skipped(pass);
        self.log_audit_lag(pass);
        let rows = pass.deleted;
        if rows > 0 {
            tracing::info!(event = "db.expired_deleted", rows, "expired rows were deleted");
        }
        if pass.cut_short {
            tracing::warn!(
                event = "db.retention_behind",
                "expired rows remain; the next pass starts at once"
            );
        }
        for (table, error) in &pass.failed {
            match pass.unavailable {
                // Reported elsewhere.
                true => tracing::debug!(table, %error, "expired rows not deleted; they will be retried"),
                false => tracing::warn!(
                    event = "db.retention_failed",
                    table,
                    %error,
                    "expired rows not deleted; they will be retried"
                ),
            }
        }
    }

    /// Logged once, because `/readyz` reports the state while it lasts.
    fn log_skipped(&mut self, pass: &RetentionPass) {
        if let Some(reason) = pass.skipped.as_ref().filter(|_| self.last_skipped != pass.skipped) {
            tracing::info!(event = "db.retention_put_off", reason, "deletion of expired rows is postponed");
        }
        self.last_skipped.clone_from(&pass.skipped);
    }

    /// Logged once: an operator who expects the audit table to be permanent learns its retention here.
    fn log_audit_lag(&mut self, pass: &RetentionPass) {
        let Some(kept) = self.audit.filter(|_| pass.audit > 0 && !self.audit_logged) else { return };
        self.audit_logged = true;
        tracing::info!(
            event = "db.audit_expires",
            audit_retention = %Span(kept),
            rows = pass.audit,
            "rows of the audit older than [database] audit_retention are deleted"
        );
    }
}
