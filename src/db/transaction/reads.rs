//! The reads of a batch.

use std::collections::{HashMap, HashSet};

use super::{DbError, DbTransaction, Query, Row};
use crate::db::read::{search, search_decided, unique_holders};
use crate::db::rows::{Holder, ParkedRow, UserRow, Version};
use crate::db::value::{Value, texts};
use crate::db::{statement_size, users};

impl DbTransaction {
    /// The commands of the list that were decided before; see [`crate::db::Database::decided`].
    pub async fn decided(&mut self, ids: &[String]) -> Result<HashSet<String>, DbError> {
        let mut found = HashSet::new();
        for ids in statement_size::chunks(ids) {
            let (sql, values) = search_decided(ids);
            for row in &self.fetch(Query::KnownOutcomes, &sql, &values).await? {
                found.insert(row.text(0)?);
            }
        }
        Ok(found)
    }

    /// The parked commands of these names, in order.
    pub async fn parked(&mut self, names: &[String]) -> Result<Vec<ParkedRow>, DbError> {
        let select = "SELECT id, name, seq, attempts FROM parked_commands";
        let rows = self.search(Query::Parked, select, "name", names, "").await?;
        let mut parked = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, name) = (row.text(0)?, row.text(1)?);
            parked.push(ParkedRow { id, name, seq: row.int(2)?, attempts: row.small(3)? });
        }
        parked.sort_by(|a, b| (a.seq, &a.id).cmp(&(b.seq, &b.id)));
        Ok(parked)
    }

    /// The users of these names, locked until the end of the transaction where the database has row locks. In no order.
    pub async fn users_for_update(&mut self, names: &[String]) -> Result<Vec<UserRow>, DbError> {
        let lock = self.connection.dialect().for_update();
        // All batches lock in one order, which prevents deadlocks.
        let mut names = names.to_vec();
        names.sort_unstable();
        let tail = format!(" ORDER BY name{lock}");
        let rows = self.search(Query::UsersForUpdate, users::SELECT, "name", &names, &tail).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let (user, has_deferred) = users::user(row)?;
            if has_deferred {
                self.deferred.insert(user.name.clone());
            }
            found.push(user);
        }
        Ok(found)
    }

    /// The holders of these e-mail addresses and phone numbers.
    pub async fn holders_of(&mut self, emails: &[String], phones: &[String]) -> Result<Vec<Holder>, DbError> {
        let mut found = Vec::new();
        let (mut emails, mut phones) = (statement_size::chunks(emails), statement_size::chunks(phones));
        loop {
            let (emails, phones) = (emails.next().unwrap_or_default(), phones.next().unwrap_or_default());
            if emails.is_empty() && phones.is_empty() {
                return unique_holders(found);
            }
            // One shape for both lists, so that four of these statements exist and not sixteen.
            let shape = statement_size::padded_len(emails.len().max(phones.len()));
            let mut values = texts(emails);
            statement_size::pad_to(&mut values, shape, Value::MaybeText(None));
            let mut others = texts(phones);
            statement_size::pad_to(&mut others, shape, Value::MaybeText(None));
            values.append(&mut others);
            let (one, marks) = (users::SELECT_HOLDER, statement_size::placeholders(shape));
            let sql = format!("{one} WHERE email IN ({marks}) UNION ALL {one} WHERE phone IN ({marks})");
            found.append(&mut self.fetch(Query::HoldersOf, &sql, &values).await?);
        }
    }

    /// The deleted names of the list, each with the command that deleted it.
    pub async fn tombstones(&mut self, names: &[String]) -> Result<Vec<(String, Version)>, DbError> {
        let select = "SELECT name, applied_at, applied_id FROM deleted_users";
        let rows = self.search(Query::Tombstones, select, "name", names, "").await?;
        rows.iter().map(|row| Ok((row.text(0)?, Version { at: row.instant(1)?, id: row.text(2)? }))).collect()
    }

    /// The deferred columns of these users, locked.
    pub(in crate::db) async fn extras(
        &mut self,
        names: &[String],
    ) -> Result<HashMap<String, String>, DbError> {
        let lock = self.connection.dialect().for_update();
        let select = "SELECT name, extras FROM user_extras";
        let rows = self.search(Query::PutExtras, select, "name", names, lock).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    }

    /// Up to `limit` users that have deferred columns.
    pub(in crate::db) async fn users_with_deferred(&mut self, limit: u32) -> Result<Vec<String>, DbError> {
        let sql = "SELECT name FROM user_extras ORDER BY name LIMIT ?";
        let rows = self.fetch(Query::MergeExtras, sql, &[i64::from(limit).into()]).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }

    /// Searches for a list of any length, piece by piece.
    async fn search(
        &mut self,
        query: Query,
        select: &str,
        column: &str,
        list: &[String],
        tail: &str,
    ) -> Result<Vec<Row>, DbError> {
        let mut found = Vec::new();
        for list in statement_size::chunks(list) {
            let (sql, values) = search(select, column, list);
            found.append(&mut self.fetch(query, &(sql + tail), &values).await?);
        }
        Ok(found)
    }
}
