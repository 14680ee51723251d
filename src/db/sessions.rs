//! Login sessions: which generation of a session's refresh token is the one to be used, and which sessions were ended.
//!
//! A login writes nothing: a session without a row is of generation 0 and alive. Each statement decides by itself who
//! of several was first, so that no transaction is needed.

use std::time::Duration;

use crate::units::Timestamp;

use super::error::DbError;
use super::pooled_connection::PooledConnection;
use super::query_metrics::Query;
use super::value::Value;
use super::{Database, statement_size};

const COLUMNS: &str = "id, generation, rotated_at, ended, expires_at";

/// What a refresh found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The session is of the next generation now.
    Rotated,
    /// The same generation was rotated a moment ago: a client that asked twice, or did not get the answer.
    Repeated,
    /// It was ended before, or nobody knows it although it is said to have been rotated.
    Ended,
    /// A generation that was rotated long ago: somebody has a copy of the token. This call has ended the session.
    Reused,
}

impl Database {
    /// Moves the session `id` from generation `from` to the next. One that was moved at most `grace` before `now`, by
    /// whoever, is [`Rotation::RepeatCount`]. Until `expires_at` it is remembered.
    pub async fn rotate_session(
        &self,
        id: &str,
        from: u32,
        now: Timestamp,
        expires_at: Timestamp,
        grace: Duration,
    ) -> Result<Rotation, DbError> {
        let session = Session { id, generation: i64::from(from) + 1, now, ended: false, expires_at };
        self.with_breaker(async |mut lease| {
            let rotated = match from {
                0 => session.insert(&mut lease, Query::RotateSession).await?,
                _ => session.increment_generation(&mut lease).await?,
            };
            match rotated {
                true => Ok(Rotation::Rotated),
                false => session.not_rotated(&mut lease, grace).await,
            }
        })
        .await
    }

    /// Ends the session `id` for good, whether it has a row or not, and says whether it was alive. That it ended is
    /// remembered until `expires_at` at least.
    pub async fn end_session(
        &self,
        id: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, DbError> {
        let session = Session { id, generation: 0, now, ended: true, expires_at };
        self.with_breaker(async |mut lease| {
            Ok(session.insert(&mut lease, Query::EndSession).await?
                || session.end(&mut lease, Query::EndSession).await?)
        })
        .await
    }

    /// Whether the session `id` has been ended.
    pub async fn session_ended(&self, id: &str) -> Result<bool, DbError> {
        let sql = "SELECT ended FROM login_sessions WHERE id = ?";
        let rows = self.fetch(Query::SessionEnded, sql, &[id.into()]).await?;
        rows.first().map_or(Ok(false), |row| row.flag(0))
    }
}

/// A row as it is to be.
struct Session<'a> {
    id: &'a str,
    generation: i64,
    now: Timestamp,
    ended: bool,
    expires_at: Timestamp,
}

impl Session<'_> {
    /// Says whether there was none.
    async fn insert(&self, lease: &mut PooledConnection, query: Query) -> Result<bool, DbError> {
        let row = format!("login_sessions ({COLUMNS}) VALUES {}", statement_size::tuples(1, 5));
        let sql = lease.dialect().insert_new(&row, "id");
        let values = [
            self.id.into(),
            self.generation.into(),
            self.now.into(),
            Value::Bool(self.ended),
            self.expires_at.into(),
        ];
        Ok(lease.execute(query, &sql, &values).await? > 0)
    }

    /// Says whether it was alive and of the generation before.
    async fn increment_generation(&self, lease: &mut PooledConnection) -> Result<bool, DbError> {
        let sql = "UPDATE login_sessions SET generation = ?, rotated_at = ?, expires_at = ? \
             WHERE id = ? AND generation = ? AND ended = ?";
        let values = [
            self.generation.into(),
            self.now.into(),
            self.expires_at.into(),
            self.id.into(),
            (self.generation - 1).into(),
            Value::Bool(false),
        ];
        Ok(lease.execute(Query::RotateSession, sql, &values).await? > 0)
    }

    /// Why it was not rotated; ends it where that means that a token was copied.
    async fn not_rotated(&self, lease: &mut PooledConnection, grace: Duration) -> Result<Rotation, DbError> {
        let sql = "SELECT generation, rotated_at, ended FROM login_sessions WHERE id = ?";
        let rows = lease.fetch(Query::RotateSession, sql, &[self.id.into()]).await?;
        let Some(row) = rows.first() else { return Ok(Rotation::Ended) };
        let (generation, rotated_at, ended) = (row.int(0)?, row.instant(1)?, row.flag(2)?);
        // Of a generation that was never reached: the database was restored from a copy.
        if ended || generation < self.generation {
            return Ok(Rotation::Ended);
        }
        if generation == self.generation && self.now.since(rotated_at) <= grace {
            return Ok(Rotation::Repeated);
        }
        // Generations only grow: what was old a moment ago still is.
        Ok(match self.end(lease, Query::RotateSession).await? {
            true => Rotation::Reused,
            false => Rotation::Ended,
        })
    }

    /// Says whether this call ended it. Its row stays until the last token that was issued for it has expired.
    async fn end(&self, lease: &mut PooledConnection, query: Query) -> Result<bool, DbError> {
        let sql = "UPDATE login_sessions SET ended = ?, expires_at = CASE WHEN expires_at < ? THEN ? ELSE expires_at END \
             WHERE id = ? AND ended = ?";
        let until = self.expires_at.into();
        let values = [Value::Bool(true), until, until, self.id.into(), Value::Bool(false)];
        Ok(lease.execute(query, sql, &values).await? > 0)
    }
}
