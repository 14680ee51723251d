//! How long rows are kept, and the tables whose rows expire.

use std::time::Duration;

/// Outcomes make what is delivered again harmless, so they stay longer than Kafka keeps commands (a week by default).
/// After them the rows of `audit` still say that a command was decided ([`super::Database::decided`]).
pub const KEEP_OUTCOMES: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longer than the clocks of daemons differ: who still takes a token for valid finds that its session was ended.
const KEEP_SESSIONS: Duration = Duration::from_secs(3600);

/// How long rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Outcomes of commands and names of deleted users.
    pub outcomes: Duration,
    /// Login sessions, after the last token of theirs has expired.
    pub sessions: Duration,
    /// What was done by whom; none: for ever. A row of the audit stays at least as long as its command's outcome,
    /// whatever stands here.
    pub audit: Option<Duration>,
}

impl Retention {
    /// With this retention of the audit, and what is fixed.
    pub fn new(audit: Option<Duration>) -> Self {
        Self { outcomes: KEEP_OUTCOMES, sessions: KEEP_SESSIONS, audit }
    }

    /// How long rows of a table are kept; none: for ever.
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
    /// The audit comes last: see [`Retention::audit`].
    pub(super) const ALL: [Self; 4] = [Self::Outcomes, Self::DeletedUsers, Self::Sessions, Self::Audit];

    /// As it is called in the database, and in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Outcomes => "command_outcomes",
            Self::DeletedUsers => "deleted_users",
            Self::Sessions => "login_sessions",
            Self::Audit => "audit",
        }
    }

    /// The primary key, and the indexed column that says how old a row is.
    pub(super) const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Outcomes => ("id", "finished_at"),
            Self::DeletedUsers => ("name", "applied_at"),
            Self::Sessions => ("id", "expires_at"),
            Self::Audit => ("id", "at"),
        }
    }
}
