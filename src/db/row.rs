//! A row of a result, read by column position.

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::units::Timestamp;

use super::error::DbError;

/// A row of any of the three databases.
pub(super) enum Row {
    MySql(MySqlRow),
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

macro_rules! column {
    ($row:expr, $at:expr) => {
        match $row {
            Row::MySql(row) => row.try_get($at),
            Row::Postgres(row) => row.try_get($at),
            Row::Sqlite(row) => row.try_get($at),
        }
        .map_err(|_| unreadable($at))
    };
}

impl Row {
    pub(super) fn text(&self, column: usize) -> Result<String, DbError> {
        column!(self, column)
    }

    pub(super) fn maybe_text(&self, column: usize) -> Result<Option<String>, DbError> {
        column!(self, column)
    }

    pub(super) fn int(&self, column: usize) -> Result<i64, DbError> {
        column!(self, column)
    }

    pub(super) fn maybe_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        column!(self, column)
    }

    pub(super) fn flag(&self, column: usize) -> Result<bool, DbError> {
        column!(self, column)
    }

    pub(super) fn bytes(&self, column: usize) -> Result<Vec<u8>, DbError> {
        column!(self, column)
    }

    pub(super) fn instant(&self, column: usize) -> Result<Timestamp, DbError> {
        self.int(column).map(instant)
    }

    pub(super) fn maybe_instant(&self, column: usize) -> Result<Option<Timestamp>, DbError> {
        Ok(self.maybe_int(column)?.map(instant))
    }

    pub(super) fn small(&self, column: usize) -> Result<i32, DbError> {
        i32::try_from(self.int(column)?).map_err(|_| unreadable(column))
    }
}

/// forebay never writes an instant before 1970.
fn instant(millis: i64) -> Timestamp {
    Timestamp(u64::try_from(millis).unwrap_or_default())
}

fn unreadable(column: usize) -> DbError {
    DbError::Refused(format!("column {column} of a result has an unexpected type"))
}
