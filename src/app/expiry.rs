//! The task that deletes rows as they expire, and what it says about that.

use std::time::Duration;

use crate::backoff;
use crate::db::{Database, Retention, RetentionPass};
use crate::units::{Span, Timestamp};

/// Between two passes over expired rows.
const EVERY: Duration = Duration::from_secs(60);
/// How long a pass may take. Where that is not enough the next one begins at once: what has expired meanwhile then has
/// its turn in every table, and metrics show that the database does not keep up.
const PASS_WITHIN: Duration = Duration::from_secs(60);

/// Deletes rows as they expire. Consumers on other machines need not: the tables are everybody's. Several daemons come by
/// at different times.
pub(super) async fn delete_expired(db: Database, retention: Retention) {
    let mut report = Report { audit: retention.audit, last_skipped: None, audit_said: false };
    let mut cut_short = false;
    loop {
        if !cut_short {
            tokio::time::sleep(EVERY.mul_f64(0.5 + backoff::random_fraction())).await;
        }
        let pass = db.delete_expired(&retention, Timestamp::now(), PASS_WITHIN).await;
        cut_short = pass.cut_short;
        report.on(&pass);
    }
}

/// What was said already.
struct Report {
    audit: Option<Duration>,
    last_skipped: Option<String>,
    audit_said: bool,
}

impl Report {
    fn on(&mut self, pass: &RetentionPass) {
        self.put_off(pass);
        self.audit(pass);
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
                // That is said elsewhere.
                true => tracing::debug!(table, %error, "expired rows not deleted; tried again"),
                false => tracing::warn!(
                    event = "db.retention_failed",
                    table,
                    %error,
                    "expired rows not deleted; tried again"
                ),
            }
        }
    }

    /// Once: `/readyz` says so for as long as it lasts.
    fn put_off(&mut self, pass: &RetentionPass) {
        if let Some(reason) = pass.skipped.as_ref().filter(|_| self.last_skipped != pass.skipped) {
            tracing::info!(event = "db.retention_put_off", reason, "deletion of expired rows is postponed");
        }
        self.last_skipped.clone_from(&pass.skipped);
    }

    /// Once: an operator who relies on the audit and does not know that it is not kept for ever finds it here.
    fn audit(&mut self, pass: &RetentionPass) {
        let Some(kept) = self.audit.filter(|_| pass.audit > 0 && !self.audit_said) else { return };
        self.audit_said = true;
        tracing::info!(
            event = "db.audit_expires",
            audit_retention = %Span(kept),
            rows = pass.audit,
            "rows of the audit older than [database] audit_retention are deleted"
        );
    }
}
