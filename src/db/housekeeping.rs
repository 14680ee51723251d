//! What is done now and then: letting go of old rows, and completing users whose columns were put off.

use crate::units::Timestamp;

use super::Database;
use super::error::DbError;
use super::meter::Query;
use super::read::search;
use super::shape;
use super::users::lay_over;
use super::users::object;
use super::value::Value;
use super::value::texts;

impl Database {
    /// Forgets outcomes that were reached and deletions that were accepted before `at`, up to `limit` of each, and says
    /// how many rows went. Audit rows stay: by them a command is known again whose outcome was forgotten.
    pub async fn forget_before(&self, at: Timestamp, limit: u32) -> Result<u64, DbError> {
        let outcomes = self.forget("command_outcomes", "id", "id", "finished_at", at, limit).await?;
        // A name may be deleted anew meanwhile: then by another command.
        let tombstones = self.forget("deleted_users", "name", "applied_id", "applied_at", at, limit).await?;
        Ok(outcomes + tombstones)
    }

    /// Looks for the oldest first and deletes them by `key`, those that are of the same `command` still: an index serves
    /// both, and few rows are locked at a time.
    async fn forget(
        &self,
        table: &str,
        key: &str,
        command: &str,
        instant: &str,
        at: Timestamp,
        limit: u32,
    ) -> Result<u64, DbError> {
        let mut lease = self.lease().await?;
        let sql =
            format!("SELECT {key}, {command} FROM {table} WHERE {instant} < ? ORDER BY {instant} LIMIT ?");
        let rows = lease.fetch(Query::Forget, &sql, &[at.into(), i64::from(limit).into()]).await?;
        let mut gone = 0;
        for rows in shape::chunks(&rows) {
            let keys = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
            let commands = rows.iter().map(|row| row.text(1)).collect::<Result<Vec<_>, _>>()?;
            let (mut sql, mut values) = search(&format!("DELETE FROM {table}"), key, &keys);
            if command != key {
                sql = format!("{sql} AND {command} IN ({})", shape::marks(values.len()));
                let mut others = texts(&commands);
                shape::pad(&mut others, values.len(), Value::MaybeText(None));
                values.append(&mut others);
            }
            gone += lease.execute(Query::Forget, &sql, &values).await?;
        }
        Ok(gone)
    }

    /// Writes what was put off of up to `limit` users into their rows, and says of how many.
    pub async fn merge_extras(&self, limit: u32) -> Result<u64, DbError> {
        let mut batch = self.begin().await?;
        let names = batch.put_off(limit).await?;
        if names.is_empty() {
            return Ok(0);
        }
        let mut users = batch.users_for_update(&names).await?;
        // Under the users' locks, and read anew: what the answer above shows may be older than they are.
        let extras = batch.extras(&names).await?;
        for user in &mut users {
            if let Some(extras) = extras.get(&user.name) {
                lay_over(user, &object(extras)?);
            }
        }
        batch.update_users(&users).await?;
        batch.drop_orphans(&names).await?;
        batch.commit().await?;
        u64::try_from(names.len()).map_err(|_| DbError::Refused("more users than there can be".to_owned()))
    }
}
