//! Queries outside transactions.

use std::collections::HashSet;

use super::error::DbError;
use super::query_metrics::Query;
use super::row::Row;
use super::rows::{Holder, OutcomeRow, UserRow};
use super::value::{Value, texts};
use super::{Database, statement_size, users};

/// The columns of an outcome.
const SELECT_OUTCOME: &str = "SELECT id, kind, name, state, field, reason, actor, accepted_at, \
     finished_at, topic_partition, topic_offset FROM command_outcomes";

impl Database {
    /// The user `name`.
    pub async fn user(&self, name: &str) -> Result<Option<UserRow>, DbError> {
        let sql = format!("{} WHERE name = ?", users::SELECT);
        let rows = self.fetch(Query::User, &sql, &[name.into()]).await?;
        rows.first().map(|row| Ok(users::user(row)?.0)).transpose()
    }

    /// The users with this name, e-mail address or phone number: one query that uses an index for each.
    pub async fn holders(
        &self,
        name: Option<&str>,
        email: Option<&str>,
        phone: Option<&str>,
    ) -> Result<Vec<Holder>, DbError> {
        let one = users::SELECT_HOLDER;
        let sql =
            format!("{one} WHERE name = ? UNION ALL {one} WHERE email = ? UNION ALL {one} WHERE phone = ?");
        let values = [name, email, phone].map(Value::MaybeText);
        unique_holders(self.fetch(Query::Holders, &sql, &values).await?)
    }

    /// Up to `limit` users whose names come after `after`, in the order of names.
    pub async fn users_after(&self, after: Option<&str>, limit: u32) -> Result<Vec<UserRow>, DbError> {
        // No name is empty.
        let sql = format!("{} WHERE name > ? ORDER BY name LIMIT ?", users::SELECT);
        let values = [after.unwrap_or_default().into(), i64::from(limit).into()];
        let rows = self.fetch(Query::UsersAfter, &sql, &values).await?;
        rows.iter().map(|row| Ok(users::user(row)?.0)).collect()
    }

    /// The outcome of the command `id`.
    pub async fn outcome(&self, id: &str) -> Result<Option<OutcomeRow>, DbError> {
        Ok(self.outcomes(&[id.to_owned()]).await?.pop())
    }

    /// The outcomes of commands, in no order. Commands without an outcome are omitted.
    pub async fn outcomes(&self, ids: &[String]) -> Result<Vec<OutcomeRow>, DbError> {
        let mut found = Vec::new();
        for ids in statement_size::chunks(ids) {
            let (sql, values) = search(SELECT_OUTCOME, "id", ids);
            let rows = self.fetch(Query::Outcomes, &sql, &values).await?;
            for row in &rows {
                found.push(outcome(row)?);
            }
        }
        Ok(found)
    }

    /// The commands of the list that were decided. An audit row records this for longer than the outcome row, which
    /// expires.
    pub async fn decided(&self, ids: &[String]) -> Result<HashSet<String>, DbError> {
        let mut found = HashSet::new();
        for ids in statement_size::chunks(ids) {
            let (sql, values) = search_decided(ids);
            for row in &self.fetch(Query::KnownOutcomes, &sql, &values).await? {
                found.insert(row.text(0)?);
            }
        }
        Ok(found)
    }
}

/// `select` with `column IN (…)` in one of the shapes, and its values. The list must fit the largest shape.
pub(super) fn search<'a>(select: &str, column: &str, list: &'a [String]) -> (String, Vec<Value<'a>>) {
    let shape = statement_size::padded_len(list.len());
    let mut values = texts(list);
    statement_size::pad_to(&mut values, shape, Value::MaybeText(None));
    (format!("{select} WHERE {column} IN ({})", statement_size::placeholders(shape)), values)
}

/// The query for commands that have an outcome row, an audit row or both, each by its primary key. The list must fit
/// the largest shape.
pub(super) fn search_decided(ids: &[String]) -> (String, Vec<Value<'_>>) {
    let (outcomes, mut values) = search("SELECT id FROM command_outcomes", "id", ids);
    let (audit, mut others) = search("SELECT id FROM audit", "id", ids);
    values.append(&mut others);
    (format!("{outcomes} UNION ALL {audit}"), values)
}

fn outcome(row: &Row) -> Result<OutcomeRow, DbError> {
    Ok(OutcomeRow {
        id: row.text(0)?,
        kind: row.text(1)?,
        name: row.text(2)?,
        state: row.text(3)?,
        field: row.maybe_text(4)?,
        reason: row.maybe_text(5)?,
        actor: row.maybe_text(6)?,
        accepted_at: row.instant(7)?,
        finished_at: row.instant(8)?,
        partition: row.small(9)?,
        offset: row.int(10)?,
    })
}

/// Merges rows of the same holder, which the query may find in more than one way.
pub(super) fn unique_holders(rows: Vec<Row>) -> Result<Vec<Holder>, DbError> {
    let mut seen = HashSet::new();
    let mut holders = Vec::new();
    for row in &rows {
        let holder = users::holder(row)?;
        if seen.insert(holder.name.clone()) {
            holders.push(holder);
        }
    }
    Ok(holders)
}
