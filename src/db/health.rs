//! Checking that the database meets the daemon's requirements.

use data_encoding::HEXLOWER;

use crate::units::Timestamp;

use super::error::DbError;
use super::query_metrics::Query;
use super::value::Value;
use super::{Database, random};

impl Database {
    /// The requirement that the database does not meet, and how to fix it. Commands must not be applied before: this
    /// database would refuse commands that another database accepts, and they would become dead letters. The request is
    /// sent even while the circuit breaker is open; a reply closes it.
    pub async fn missing_requirement(&self) -> Result<Option<String>, DbError> {
        match self.missing_migrations().await? {
            Some(lacking) => Ok(Some(lacking)),
            None => Ok(self.wrong_encoding().await?.map(|wrong| wrong.to_string())),
        }
    }

    /// The missing migrations, as a requirement.
    pub(super) async fn missing_migrations(&self) -> Result<Option<String>, DbError> {
        let count = self.pending_migrations().await?.len();
        Ok((count > 0).then(|| format!("{count} migrations are not applied yet: run `forebay migrate`")))
    }

    /// Checks that the database accepts writes: inserts a row for a session that does not exist, and rolls back. A
    /// server that answers reads may still refuse writes: it may be the read-only one of a pair after a failover, its
    /// disk may be full, or the account may lack a privilege. The request is sent even while the circuit breaker is
    /// open; a reply closes it.
    pub async fn check_writes(&self) -> Result<(), DbError> {
        let (id, now) = (HEXLOWER.encode(&random::bytes::<16>()?), Timestamp::now());
        let sql =
            "INSERT INTO login_sessions (id, generation, rotated_at, ended, expires_at) VALUES (?,?,?,?,?)";
        let values = [(&id).into(), 0.into(), now.into(), Value::Bool(true), now.into()];
        let mut connection = self.connection().await?;
        connection.begin().await?;
        connection.execute(Query::Check, sql, &values).await?;
        self.breaker.record_success();
        Ok(())
    }
}
