//! Deleting rows that nobody needs any more, as fast as they expire.
//!
//! A pass goes over the tables batch by batch, the oldest rows first, until no table has an expired row. Each batch finds
//! its rows by an index on their instant and deletes them by their keys, at most 512 rows to a transaction: few rows are
//! locked at a time, and not for long. After each batch the pass pauses for as long as the batch took. So at least half of
//! the time belongs to others, and the rate follows the database, not a number in here.
//!
//! A table's next batch begins at the instant where its last one ended. A database keeps deleted rows in its indexes for a
//! while, and a search from the beginning would go over all of them again.

use std::time::Duration;
use std::time::Instant;

use crate::units::Timestamp;

use super::Database;
use super::error::DbError;
use super::meter::Query;
use super::read::search;
use super::shape;

/// Outcomes make what is delivered again harmless, so they stay longer than Kafka keeps commands (a week by default).
/// After them the rows of `audit` still say that a command was decided ([`Database::decided`]).
pub const KEEP_OUTCOMES: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longer than the clocks of daemons differ: who still takes a token for valid finds that its session was ended.
const KEEP_SESSIONS: Duration = Duration::from_secs(3600);

/// Rows of a table in one batch: two statements that delete. More would hold the connection for longer and save little.
const BATCH: u32 = 1024;

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

    fn tables(&self, now: Timestamp) -> Vec<Progress> {
        let kept = |table: &Table| match table {
            Table::Outcomes | Table::DeletedUsers => Some(self.outcomes),
            Table::Sessions => Some(self.sessions),
            Table::Audit => self.audit,
        };
        let expiring = Table::ALL.iter().filter_map(|table| Some(Progress::new(*table, kept(table)?, now)));
        expiring.collect()
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Rows deleted.
    pub deleted: u64,
    /// Whether its time was over while expired rows were left.
    pub cut_short: bool,
    /// The last table from which it could not delete, and why; it went on with the others.
    pub failed: Option<(&'static str, DbError)>,
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
    const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Outcomes => ("id", "finished_at"),
            Self::DeletedUsers => ("name", "applied_at"),
            Self::Sessions => ("id", "expires_at"),
            Self::Audit => ("id", "at"),
        }
    }
}

/// Where the pass stands in one table.
struct Progress {
    table: Table,
    /// Rows from this instant on were not seen yet.
    from: Timestamp,
    /// Rows from this instant on stay.
    before: Timestamp,
    /// Whether the pass is through with the table.
    done: bool,
    /// Whether no expired row is left.
    emptied: bool,
    /// Rows older than this are gone.
    reached: Timestamp,
    /// Whether every row found was deleted so far.
    gapless: bool,
}

impl Progress {
    fn new(table: Table, kept: Duration, now: Timestamp) -> Self {
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(now.0.saturating_sub(kept));
        let start = Timestamp(0);
        Self { table, from: start, before, done: false, emptied: false, reached: start, gapless: true }
    }

    fn record(&mut self, batch: &Batch) {
        self.done = !batch.is_followed();
        self.emptied = batch.found < u64::from(BATCH);
        self.from = batch.last;
        self.gapless &= batch.deleted >= batch.found;
        if self.gapless {
            self.reached = if self.emptied { self.before } else { self.from };
        }
    }
}

/// What one batch came to.
struct Batch {
    found: u64,
    deleted: u64,
    /// The instant of the newest row found.
    last: Timestamp,
}

impl Batch {
    /// Whether the next batch is worth while. It is not where rows are left over that were found: another daemon deletes
    /// the same ones, and two of them only stand in each other's way.
    fn is_followed(&self) -> bool {
        self.found >= u64::from(BATCH) && self.deleted * 2 >= self.found
    }
}

/// Keeps the audit's rows from going before the outcomes of their commands: both have the same instant.
struct OutcomesFirst {
    reached: Timestamp,
    done: bool,
}

impl OutcomesFirst {
    /// Whether it is this table's turn; if so, it goes no further than it may.
    fn allows(&self, progress: &mut Progress) -> bool {
        if progress.table == Table::Audit {
            if self.reached < progress.before && !self.done {
                return false;
            }
            progress.before = progress.before.min(self.reached);
        }
        true
    }

    fn record(&mut self, progress: &Progress) {
        if progress.table == Table::Outcomes {
            *self = Self { reached: progress.reached, done: progress.done };
        }
    }
}

impl Database {
    /// Deletes what has expired at `now`. When `within` is over, the batches that are left wait for the next pass.
    pub async fn delete_expired(&self, retention: &Retention, now: Timestamp, within: Duration) -> Pass {
        let began = Instant::now();
        let mut tables = retention.tables(now);
        let mut order = OutcomesFirst { reached: Timestamp(0), done: false };
        let mut pass = Pass::default();
        loop {
            for progress in &mut tables {
                if !order.allows(progress) {
                    continue;
                }
                match self.step(progress).await {
                    Ok(deleted) => pass.deleted += deleted,
                    Err(error) => {
                        progress.done = true;
                        pass.failed = Some((progress.table.name(), error));
                    }
                }
                order.record(progress);
            }
            tables.retain(|progress| !progress.done);
            if tables.is_empty() {
                return pass;
            }
            if began.elapsed() >= within {
                pass.cut_short = true;
                self.meter.retention_cut_short();
                return pass;
            }
        }
    }

    /// One batch of one table, and the pause after it.
    async fn step(&self, progress: &mut Progress) -> Result<u64, DbError> {
        let began = Instant::now();
        let batch = self.delete_batch(progress).await?;
        progress.record(&batch);
        let behind = if progress.emptied { Duration::ZERO } else { progress.before.since(batch.last) };
        self.meter.expired(progress.table, batch.deleted, behind);
        if batch.found > 0 {
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(batch.deleted)
    }

    async fn delete_batch(&self, progress: &Progress) -> Result<Batch, DbError> {
        let (key, instant) = progress.table.columns();
        let table = progress.table.name();
        let mut lease = self.lease().await?;
        let sql = format!(
            "SELECT {key}, {instant} FROM {table} WHERE {instant} >= ? AND {instant} < ? ORDER BY {instant} LIMIT ?"
        );
        let values = [progress.from.into(), progress.before.into(), i64::from(BATCH).into()];
        let rows = lease.fetch(Query::Forget, &sql, &values).await?;
        let keys = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        let last = rows.last().map(|row| row.instant(1)).transpose()?.unwrap_or(progress.from);
        let mut batch = Batch { found: keys.len() as u64, deleted: 0, last };
        for keys in shape::chunks(&keys) {
            let (sql, mut values) = search(&format!("DELETE FROM {table}"), key, keys);
            // A name may have been deleted anew, a session prolonged meanwhile.
            values.push(progress.before.into());
            let sql = format!("{sql} AND {instant} < ?");
            batch.deleted += lease.execute(Query::Forget, &sql, &values).await?;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_goes_on_while_batches_are_full_and_nobody_else_deletes() {
        let full = u64::from(BATCH);
        let followed = |found, deleted| Batch { found, deleted, last: Timestamp(0) }.is_followed();
        assert!(followed(full, full));
        assert!(followed(full, full / 2));
        assert!(!followed(full, full / 2 - 1), "another daemon is faster");
        assert!(!followed(full, 0));
        assert!(!followed(full - 1, full - 1), "the last one");
        assert!(!followed(0, 0));
    }
}
