//! The writes of a batch.

use std::collections::HashMap;

use super::{DbError, DbTransaction, Query};
use crate::db::read::search;
use crate::db::rows::{AuditRow, OutcomeRow, ParkedRow, UserRow, Version};
use crate::db::value::Value;
use crate::db::{statement_size, users};

const OUTCOME: [&str; 11] = [
    "id",
    "kind",
    "name",
    "state",
    "field",
    "reason",
    "actor",
    "accepted_at",
    "finished_at",
    "topic_partition",
    "topic_offset",
];
const AUDIT: [&str; 7] = ["id", "actor", "action", "target", "outcome", "reason", "at"];
const PARKED: [&str; 4] = ["id", "name", "seq", "attempts"];
const TOMBSTONE: [&str; 3] = ["name", "applied_at", "applied_id"];
const EXTRAS: [&str; 2] = ["name", "extras"];

/// All columns but the key and `last_login_at`, which another task writes asynchronously.
const UPDATE_USER: &str = "UPDATE users SET email = ?, phone = ?, password_hash = ?, nickname = ?, is_admin = ?, \
     created_at = ?, updated_at = ?, applied_at = ?, applied_id = ? WHERE name = ?";

impl DbTransaction {
    /// Inserts new users. A name, an e-mail address or a phone number that is taken is a [`DbError::Conflict`].
    pub async fn insert_users(&mut self, rows: &[UserRow]) -> Result<(), DbError> {
        self.insert(Query::InsertUsers, "users", &users::COLUMNS, "", rows, users::values).await
    }

    /// Updates users, all columns but `last_login_at`, in the order of the rows. A user may take an address that an
    /// earlier row of the batch gives up.
    pub async fn update_users(&mut self, rows: &[UserRow]) -> Result<(), DbError> {
        for user in rows {
            let [name, email, phone, hash, nickname, admin, created, updated, _, at, id] =
                users::values(user);
            let values = [email, phone, hash, nickname, admin, created, updated, at, id, name];
            self.execute(Query::UpdateUsers, UPDATE_USER, &values).await?;
        }
        // The deferred columns were merged into the user when it was read. This update writes them.
        let settled = rows.iter().filter(|user| self.deferred.contains(&user.name));
        let settled: Vec<String> = settled.map(|user| user.name.clone()).collect();
        self.delete(Query::PutExtras, "user_extras", "name", &settled).await?;
        self.deferred.retain(|name| !settled.contains(name));
        Ok(())
    }

    /// Deletes users. Users that no longer exist are ignored.
    pub async fn delete_users(&mut self, names: &[String]) -> Result<(), DbError> {
        self.delete(Query::DeleteUsers, "users", "name", names).await?;
        self.delete(Query::DeleteUsers, "user_extras", "name", names).await
    }

    /// Records which commands deleted these names.
    pub async fn put_tombstones(&mut self, rows: &[(String, Version)]) -> Result<(), DbError> {
        let rows = newest(rows, |(name, _)| name);
        let or = self.connection.dialect().or_update("name", &["applied_at", "applied_id"]);
        self.insert(Query::PutTombstones, "deleted_users", &TOMBSTONE, &or, &rows, tombstone).await
    }

    /// Defers columns of users: one JSON object per name, such as `{"nickname":"Ada"}`. Members deferred earlier stay,
    /// unless they are given again. Reading a user includes them. [`super::Database::merge_extras`] writes them to the
    /// user's row, and so does the next [`DbTransaction::update_users`] of a user that this batch has read.
    pub async fn put_extras(&mut self, rows: &[(String, String)]) -> Result<(), DbError> {
        let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        let mut merged = HashMap::new();
        for (name, standing) in self.extras(&names).await? {
            merged.insert(name, users::parse_extras(&standing)?);
        }
        for (name, extras) in rows {
            merged.entry(name.clone()).or_default().append(&mut users::parse_extras(extras)?);
        }
        let text = |(name, extras): (String, serde_json::Map<_, _>)| {
            (name, serde_json::Value::Object(extras).to_string())
        };
        let rows: Vec<(String, String)> = merged.into_iter().map(text).collect();
        let or = self.connection.dialect().or_update("name", &["extras"]);
        self.insert(Query::PutExtras, "user_extras", &EXTRAS, &or, &rows, extras).await
    }

    /// Inserts the outcomes of commands. A command that already has an outcome is a [`DbError::Conflict`].
    pub async fn insert_outcomes(&mut self, rows: &[OutcomeRow]) -> Result<(), DbError> {
        self.insert(Query::InsertOutcomes, "command_outcomes", &OUTCOME, "", rows, outcome).await
    }

    /// Inserts audit rows, one per command. A second row is a [`DbError::Conflict`].
    pub async fn insert_audit(&mut self, rows: &[AuditRow]) -> Result<(), DbError> {
        self.insert(Query::InsertAudit, "audit", &AUDIT, "", rows, audit).await
    }

    /// Records that these commands are in the retry topic, and their number of attempts.
    pub async fn park(&mut self, rows: &[ParkedRow]) -> Result<(), DbError> {
        let rows = newest(rows, |row| &row.id);
        let or = self.connection.dialect().or_update("id", &["name", "seq", "attempts"]);
        self.insert(Query::Park, "parked_commands", &PARKED, &or, &rows, parked).await
    }

    /// Deletes the rows of commands that are not parked any more.
    pub async fn unpark(&mut self, ids: &[String]) -> Result<(), DbError> {
        self.delete(Query::Unpark, "parked_commands", "id", ids).await
    }

    async fn insert<T, const N: usize>(
        &mut self,
        query: Query,
        table: &str,
        columns: &[&str; N],
        or: &str,
        rows: &[T],
        values: impl for<'a> Fn(&'a T) -> [Value<'a>; N],
    ) -> Result<(), DbError> {
        for rows in statement_size::pieces(rows) {
            let tuples = statement_size::tuples(rows.len(), N);
            let sql = format!("INSERT INTO {table} ({}) VALUES {tuples}{or}", columns.join(", "));
            let values: Vec<Value<'_>> = rows.iter().flat_map(&values).collect();
            self.execute(query, &sql, &values).await?;
        }
        Ok(())
    }

    /// Deletes deferred columns of users that no longer exist. Deleting a user does that already.
    pub(in crate::db) async fn delete_orphaned_extras(&mut self, names: &[String]) -> Result<(), DbError> {
        let tail = " AND NOT EXISTS (SELECT 1 FROM users WHERE users.name = user_extras.name)";
        for names in statement_size::chunks(names) {
            let (sql, values) = search("DELETE FROM user_extras", "name", names);
            self.execute(Query::MergeExtras, &(sql + tail), &values).await?;
        }
        Ok(())
    }

    async fn delete(
        &mut self,
        query: Query,
        table: &str,
        column: &str,
        list: &[String],
    ) -> Result<(), DbError> {
        for list in statement_size::chunks(list) {
            let (sql, values) = search(&format!("DELETE FROM {table}"), column, list);
            self.execute(query, &sql, &values).await?;
        }
        Ok(())
    }
}

fn outcome(row: &OutcomeRow) -> [Value<'_>; 11] {
    [
        (&row.id).into(),
        (&row.kind).into(),
        (&row.name).into(),
        (&row.state).into(),
        (&row.field).into(),
        (&row.reason).into(),
        (&row.actor).into(),
        row.accepted_at.into(),
        row.finished_at.into(),
        i64::from(row.partition).into(),
        row.offset.into(),
    ]
}

fn audit(row: &AuditRow) -> [Value<'_>; 7] {
    [
        (&row.id).into(),
        (&row.actor).into(),
        (&row.action).into(),
        (&row.target).into(),
        (&row.outcome).into(),
        (&row.reason).into(),
        row.at.into(),
    ]
}

fn parked(row: &ParkedRow) -> [Value<'_>; 4] {
    [(&row.id).into(), (&row.name).into(), row.seq.into(), i64::from(row.attempts).into()]
}

fn tombstone((name, version): &(String, Version)) -> [Value<'_>; 3] {
    [name.into(), version.at.into(), (&version.id).into()]
}

fn extras((name, extras): &(String, String)) -> [Value<'_>; 2] {
    [name.into(), extras.into()]
}

/// The last row of each key: PostgreSQL refuses an upsert that contains a row twice.
fn newest<T: Clone>(rows: &[T], key: impl Fn(&T) -> &String) -> Vec<T> {
    let last: HashMap<&String, usize> = rows.iter().enumerate().map(|(at, row)| (key(row), at)).collect();
    let kept = rows.iter().enumerate().filter(|&(at, row)| last.get(key(row)) == Some(&at));
    kept.map(|(_, row)| row.clone()).collect()
}
