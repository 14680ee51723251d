//! Whether the database does what the daemon needs of it.

use data_encoding::HEXLOWER;

use crate::units::Timestamp;

use super::error::DbError;
use super::query_metrics::Query;
use super::value::Value;
use super::{Database, random};

impl Database {
    /// What it lacks before commands may be applied to it, and what to do about that: a command would be refused that
    /// another database takes, and become a dead letter. Asks also while calls are refused: an answer ends that.
    pub async fn missing_requirement(&self) -> Result<Option<String>, DbError> {
        match self.missing_migrations().await? {
            Some(lacking) => Ok(Some(lacking)),
            None => Ok(self.wrong_encoding().await?.map(|wrong| wrong.to_string())),
        }
    }

    /// The same, of its tables alone.
    pub(super) async fn missing_migrations(&self) -> Result<Option<String>, DbError> {
        let count = self.pending_migrations().await?.len();
        Ok((count > 0).then(|| format!("{count} migrations are to be applied: run `forebay migrate`")))
    }

    /// Whether it takes writes: a row of a session that does not exist, rolled back. A server that answers reads may be
    /// the read-only one of a pair after a failover, its disk may be full, or the account may lack a privilege. Asks also
    /// while calls are refused: an answer ends that.
    pub async fn check_writes(&self) -> Result<(), DbError> {
        let (id, now) = (HEXLOWER.encode(&random::bytes::<16>()?), Timestamp::now());
        let sql =
            "INSERT INTO login_sessions (id, generation, rotated_at, ended, expires_at) VALUES (?,?,?,?,?)";
        let values = [(&id).into(), 0.into(), now.into(), Value::Bool(true), now.into()];
        let mut lease = self.connection().await?;
        lease.begin().await?;
        lease.execute(Query::Check, sql, &values).await?;
        self.breaker.record_success();
        Ok(())
    }
}
