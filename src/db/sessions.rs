//! Login sessions: the current generation of each session's refresh token, and the sessions that ended.
//!
//! A login writes no row: a session without a row has generation 0 and is alive. No transaction is needed, because each
//! statement by itself decides which of several concurrent calls was first.

use std::time::Duration;

use crate::units::Timestamp;

use super::error::DbError;
use super::pooled_connection::PooledConnection;
use super::query_metrics::Query;
use super::value::Value;
use super::{Database, statement_size};

const COLUMNS: &str = "id, generation, rotated_at, ended, expires_at";

/// The result of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The session has the next generation now.
    Rotated,
    /// The same generation was rotated a moment ago: the client sent the request twice, or did not get the response.
    Repeated,
    /// The session was ended before, or it has no row although its token claims a rotation.
    Ended,
    /// The generation was rotated long ago: the token was copied. This call has ended the session.
    Reused,
}

impl Database {
    /// Moves the session `id` from generation `from` to the next. A session that another call moved at most `grace`
    /// before `now` is [`Rotation::Repeated`]. The row stays until `expires_at`.
    pub async fn rotate_session(
        &self,
        id: &str,
        from: u32,
        now: Timestamp,
        expires_at: Timestamp,
        grace: Duration,
    ) -> Result<Rotation, DbError> {
        let session = Session { id, generation: i64::from(from) + 1, now, ended: false, expires_at };
        self.with_breaker(async |mut connection| {
            let rotated = match from {
                0 => session.insert(&mut connection, Query::RotateSession).await?,
                _ => session.increment_generation(&mut connection).await?,
            };
            match rotated {
                true => Ok(Rotation::Rotated),
                false => session.not_rotated(&mut connection, grace).await,
            }
        })
        .await
    }

    /// Ends the session `id` permanently, whether it has a row or not, and returns whether it was alive. The row stays
    /// at least until `expires_at`.
    pub async fn end_session(
        &self,
        id: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, DbError> {
        let session = Session { id, generation: 0, now, ended: true, expires_at };
        self.with_breaker(async |mut connection| {
            Ok(session.insert(&mut connection, Query::EndSession).await?
                || session.end(&mut connection, Query::EndSession).await?)
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

/// The row to write.
struct Session<'a> {
    id: &'a str,
    generation: i64,
    now: Timestamp,
    ended: bool,
    expires_at: Timestamp,
}

impl Session<'_> {
    /// Inserts the row. Returns whether none existed.
    async fn insert(&self, connection: &mut PooledConnection, query: Query) -> Result<bool, DbError> {
        let row = format!("login_sessions ({COLUMNS}) VALUES {}", statement_size::tuples(1, 5));
        let sql = connection.dialect().insert_new(&row, "id");
        let values = [
            self.id.into(),
            self.generation.into(),
            self.now.into(),
            Value::Bool(self.ended),
            self.expires_at.into(),
        ];
        Ok(connection.execute(query, &sql, &values).await? > 0)
    }

    /// Increments the generation. Returns whether the session was alive and had the previous generation.
    async fn increment_generation(&self, connection: &mut PooledConnection) -> Result<bool, DbError> {
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
        Ok(connection.execute(Query::RotateSession, sql, &values).await? > 0)
    }

    /// The reason why the session was not rotated. Ends the session if the reason means that a token was copied.
    async fn not_rotated(
        &self,
        connection: &mut PooledConnection,
        grace: Duration,
    ) -> Result<Rotation, DbError> {
        let sql = "SELECT generation, rotated_at, ended FROM login_sessions WHERE id = ?";
        let rows = connection.fetch(Query::RotateSession, sql, &[self.id.into()]).await?;
        let Some(row) = rows.first() else { return Ok(Rotation::Ended) };
        let (generation, rotated_at, ended) = (row.int(0)?, row.instant(1)?, row.flag(2)?);
        // A generation that was never reached: the database was restored from a backup.
        if ended || generation < self.generation {
            return Ok(Rotation::Ended);
        }
        if generation == self.generation && self.now.since(rotated_at) <= grace {
            return Ok(Rotation::Repeated);
        }
        // Generations only grow: a generation that was old a moment ago is still old.
        Ok(match self.end(connection, Query::RotateSession).await? {
            true => Rotation::Reused,
            false => Rotation::Ended,
        })
    }

    /// Ends the session. Returns whether this call ended it. Its row stays until the session's last token has expired.
    async fn end(&self, connection: &mut PooledConnection, query: Query) -> Result<bool, DbError> {
        let sql = "UPDATE login_sessions SET ended = ?, expires_at = CASE WHEN expires_at < ? THEN ? ELSE expires_at END \
             WHERE id = ? AND ended = ?";
        let until = self.expires_at.into();
        let values = [Value::Bool(true), until, until, self.id.into(), Value::Bool(false)];
        Ok(connection.execute(query, sql, &values).await? > 0)
    }
}
