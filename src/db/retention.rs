//! Retention periods, and the tables whose rows expire.

use std::time::Duration;

/// Retention of outcomes. They make repeated deliveries harmless, so they stay longer than Kafka retains commands (a
/// week by default). Later, `audit` rows still record that a command was decided ([`super::Database::decided`]).
pub const KEEP_OUTCOMES: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longer than the daemons' clocks differ: a daemon that still considers a token valid finds that its session has
/// ended.
const KEEP_SESSIONS: Duration = Duration::from_secs(3600);

/// Retention periods of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Outcomes of commands and names of deleted users.
    pub outcomes: Duration,
    /// Login sessions, after their last token has expired.
    pub sessions: Duration,
    /// Rows of the audit. `None` retains them indefinitely. An audit row stays at least as long as its command's
    /// outcome, whatever this value is.
    pub audit: Option<Duration>,
}

impl Retention {
    /// The fixed periods, and this one for the audit.
    pub fn new(audit: Option<Duration>) -> Self {
        Self { outcomes: KEEP_OUTCOMES, sessions: KEEP_SESSIONS, audit }
    }

    /// The retention of a table's rows. `None` retains them indefinitely.
    pub(super) fn of(&self, table: Table) -> Option<Duration> {
        match table {
            Table::Outcomes | Table::DeletedUsers => Some(self.outcomes),
            Table::Sessions => Some(self.sessions),
            Table::Audit => self.audit.map(|kept| kept.max(self.outcomes)),
        }
    }
}

/// A table whose rows expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Outcomes,
    DeletedUsers,
    Sessions,
    Audit,
}

impl Table {
    /// All tables. The audit comes last: see [`Retention::audit`].
    pub(super) const ALL: [Self; 4] = [Self::Outcomes, Self::DeletedUsers, Self::Sessions, Self::Audit];

    /// The table's name in the database and in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Outcomes => "command_outcomes",
            Self::DeletedUsers => "deleted_users",
            Self::Sessions => "login_sessions",
            Self::Audit => "audit",
        }
    }

    /// The primary key, and the indexed column with the instant from which a row's age counts.
    pub(super) const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Outcomes => ("id", "finished_at"),
            Self::DeletedUsers => ("name", "applied_at"),
            Self::Sessions => ("id", "expires_at"),
            Self::Audit => ("id", "at"),
        }
    }
}
