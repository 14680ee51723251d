//! Deleting expired rows, as fast as they expire.
//!
//! A pass processes the tables batch by batch, the oldest rows first, until no table has an expired row. Each batch
//! finds its rows by an index on their instant, and deletes them by their keys. A transaction deletes at most 512 rows,
//! so few rows are locked at a time, and only briefly. After each batch the pass pauses for as long as the batch took.
//! Other work therefore has at least half of the time, and the deletion rate follows the database's speed, not a fixed
//! number.
//!
//! A table's next batch begins at the instant where its last batch ended. A database keeps deleted rows in its indexes
//! for a while, and a search from the beginning would scan all of them again.

use std::time::{Duration, Instant};

use crate::units::Timestamp;

use super::error::DbError;
use super::query_metrics::Query;
use super::read::search;
use super::retention::{Retention, Table};
use super::{Database, statement_size};

/// Rows of a table per batch: two `DELETE` statements. More would hold the connection for longer and save little.
const BATCH: u32 = 1024;

/// The result of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPass {
    /// Deleted rows.
    pub deleted: u64,
    /// Deleted rows of the audit; part of `deleted`.
    pub audit: u64,
    /// Whether the time limit ended the pass while expired rows were left.
    pub cut_short: bool,
    /// The tables in which deletion failed, and the reasons. The pass continued with the other tables.
    pub failed: Vec<(&'static str, DbError)>,
    /// Whether the failures mean that the database as a whole is unavailable.
    pub unavailable: bool,
    /// Why the pass skipped all tables, if it did: without its index a table would be scanned from end to end.
    pub skipped: Option<String>,
}

impl RetentionPass {
    fn count(&mut self, table: Table, deleted: u64) {
        self.deleted += deleted;
        if table == Table::Audit {
            self.audit += deleted;
        }
    }
}

/// Whether no table could be reached. If other tables can be reached, a table without a reply in time has a problem of
/// its own: locked rows, or a search that takes too long.
fn is_database_unavailable(failed: &[(&'static str, DbError)], tables: usize) -> bool {
    failed.len() == tables
        && failed.iter().all(|(_, error)| matches!(error, DbError::Unavailable(_) | DbError::BreakerOpen))
}

/// Progress of the pass in one table.
struct Progress {
    table: Table,
    /// Start of the next search: rows from this instant on have not been read yet.
    from: Timestamp,
    /// Rows from this instant on have not expired.
    expired: Timestamp,
    /// Rows from this instant on stay: they have not expired, or other tables' rows must be deleted first.
    before: Timestamp,
    /// Whether the pass is finished with the table.
    done: bool,
    /// Whether no expired row is left.
    emptied: bool,
    /// Rows older than this are deleted.
    reached: Timestamp,
    /// Whether every row found so far was deleted.
    all_deleted: bool,
}

impl Progress {
    fn new(table: Table, kept: Duration, now: Timestamp) -> Self {
        let before = now.saturating_sub(kept);
        let start = Timestamp(0);
        Self {
            table,
            from: start,
            expired: before,
            before,
            done: false,
            emptied: false,
            reached: start,
            all_deleted: true,
        }
    }

    /// How long a row of this instant has been expired.
    fn expired_for(&self, instant: Timestamp) -> Duration {
        self.expired.since(instant)
    }

    fn record(&mut self, batch: &DeletedBatch) {
        self.done = !batch.has_more();
        self.emptied = batch.found < u64::from(BATCH);
        self.from = batch.last;
        self.all_deleted &= batch.deleted >= batch.found;
        if self.all_deleted {
            self.reached = if self.emptied { self.before } else { self.from };
        }
    }
}

/// The result of one batch.
struct DeletedBatch {
    found: u64,
    deleted: u64,
    /// The instant of the newest row found.
    last: Timestamp,
    /// The oldest expired row that could not be deleted.
    waiting: Option<Timestamp>,
}

impl DeletedBatch {
    /// Whether another batch is useful. It is not if rows that were found could not be deleted: another daemon is
    /// deleting the same rows, and two daemons only block each other.
    fn has_more(&self) -> bool {
        self.found >= u64::from(BATCH) && self.deleted * 2 >= self.found
    }
}

/// Keeps audit rows from being deleted before the outcomes of their commands; both have the same instant.
struct DeletionOrder {
    reached: Timestamp,
    done: bool,
}

impl DeletionOrder {
    /// Whether this table's batch may run now. If so, limits how far it may go.
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
    /// Deletes rows that have expired at `now`. After `within`, the remaining batches wait for the next pass.
    pub async fn delete_expired(
        &self,
        retention: &Retention,
        now: Timestamp,
        within: Duration,
    ) -> RetentionPass {
        match self.missing_migrations().await {
            Ok(None) => self.delete_all(retention, now, within).await,
            Ok(deferred) => RetentionPass { skipped: deferred, ..RetentionPass::default() },
            Err(error) => RetentionPass { skipped: Some(error.to_string()), ..RetentionPass::default() },
        }
    }

    async fn delete_all(&self, retention: &Retention, now: Timestamp, within: Duration) -> RetentionPass {
        let began = Instant::now();
        let progress = |table: &Table| Some(Progress::new(*table, retention.of(*table)?, now));
        let mut tables: Vec<_> = Table::ALL.iter().filter_map(progress).collect();
        let all = tables.len();
        let mut order = DeletionOrder { reached: Timestamp(0), done: false };
        let mut pass = RetentionPass::default();
        loop {
            for progress in &mut tables {
                if !order.allows(progress) {
                    continue;
                }
                match self.delete_next(progress).await {
                    Ok(deleted) => pass.count(progress.table, deleted),
                    Err(error) => {
                        progress.done = true;
                        pass.failed.push((progress.table.name(), error));
                    }
                }
                order.record(progress);
            }
            tables.retain(|progress| !progress.done);
            if tables.is_empty() || began.elapsed() >= within {
                break;
            }
        }
        pass.cut_short = !tables.is_empty();
        pass.unavailable = self.is_open() || is_database_unavailable(&pass.failed, all);
        if pass.cut_short || !(pass.failed.is_empty() || pass.unavailable) {
            self.context.metrics.record_retention_behind();
        }
        pass
    }

    /// Processes one batch of one table, and pauses afterwards.
    async fn delete_next(&self, progress: &mut Progress) -> Result<u64, DbError> {
        let began = Instant::now();
        let batch = self.delete_batch(progress).await?;
        progress.record(&batch);
        let left = batch.waiting.or((!progress.emptied).then_some(batch.last));
        self.context.metrics.record_deleted(progress.table, batch.deleted);
        self.context
            .metrics
            .set_lag(progress.table, left.map_or(Duration::ZERO, |oldest| progress.expired_for(oldest)));
        if batch.found > 0 {
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(batch.deleted)
    }

    async fn delete_batch(&self, progress: &Progress) -> Result<DeletedBatch, DbError> {
        let (key, instant) = progress.table.columns();
        let table = progress.table.name();
        let mut connection = self.connection().await?;
        let sql = format!(
            "SELECT {key}, {instant} FROM {table} WHERE {instant} >= ? AND {instant} < ? ORDER BY {instant} LIMIT ?"
        );
        let values = [progress.from.into(), progress.expired.into(), i64::from(BATCH).into()];
        let rows = connection.fetch(Query::Forget, &sql, &values).await?;
        let keys = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        let instants = rows.iter().map(|row| row.instant(1)).collect::<Result<Vec<_>, _>>()?;
        // Set before the deletion: it is not known yet whether it will succeed.
        self.context
            .metrics
            .set_lag(progress.table, instants.first().map_or(Duration::ZERO, |at| progress.expired_for(*at)));
        let (going, waiting) = instants.split_at(instants.partition_point(|at| *at < progress.before));
        let mut batch = DeletedBatch {
            found: going.len() as u64,
            deleted: 0,
            last: going.last().copied().unwrap_or(progress.from),
            waiting: waiting.first().copied(),
        };
        for keys in statement_size::chunks(&keys[..going.len()]) {
            let (sql, mut values) = search(&format!("DELETE FROM {table}"), key, keys);
            // A name may have been deleted again, or a session prolonged, meanwhile.
            values.push(progress.before.into());
            let sql = format!("{sql} AND {instant} < ?");
            batch.deleted += connection.execute(Query::Forget, &sql, &values).await?;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_continues_while_batches_are_full_and_deleted() {
        let full = u64::from(BATCH);
        let followed =
            |found, deleted| DeletedBatch { found, deleted, last: Timestamp(0), waiting: None }.has_more();
        assert!(followed(full, full));
        assert!(followed(full, full / 2));
        assert!(!followed(full, full / 2 - 1), "another daemon is faster");
        assert!(!followed(full, 0));
        assert!(!followed(full - 1, full - 1), "the last one");
        assert!(!followed(0, 0));
    }

    #[test]
    fn one_failing_table_is_not_a_database_outage() {
        let late = || DbError::Unavailable("over its time".to_owned());
        assert!(!is_database_unavailable(&[("audit", late())], 4));
        assert!(!is_database_unavailable(&[], 4));
        let mut failed: Vec<_> = Table::ALL.iter().map(|table| (table.name(), late())).collect();
        assert!(is_database_unavailable(&failed, 4));
        failed[2].1 = DbError::Refused("no".to_owned());
        assert!(!is_database_unavailable(&failed, 4), "it answers");
    }
}
