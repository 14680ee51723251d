//! The rows to write for a batch. Deletes are first, then updates, then inserts. So a value that moves from one user to
//! another is never in two rows.

use std::collections::BTreeSet;

use crate::db::{AuditRow, OutcomeRow, ParkedRow, UserRow, Version};

/// The net result of a batch.
#[derive(Default)]
pub(crate) struct WriteSet {
    /// Names whose rows are deleted.
    pub(crate) deletes: Vec<String>,
    /// Changed rows.
    pub(crate) updates: Vec<UserRow>,
    /// New rows.
    pub(crate) inserts: Vec<UserRow>,
    /// The command that last deleted each name.
    pub(crate) tombstones: Vec<(String, Version)>,
    /// Outcome rows.
    pub(crate) outcomes: Vec<OutcomeRow>,
    /// Audit rows.
    pub(crate) audit: Vec<AuditRow>,
    /// Commands parked in the retry topic.
    pub(crate) park: Vec<ParkedRow>,
    /// Ids of commands that are no longer parked.
    pub(crate) unpark: Vec<String>,
    /// Names whose nickname was set by an update of their row, with the current nickname.
    pub(crate) nickname_updates: Vec<(String, Option<String>)>,
    /// Parked commands that became dead because their records are lost.
    pub(crate) lost: Vec<String>,
}

impl WriteSet {
    /// Whether nothing is to be written.
    pub(crate) fn is_empty(&self) -> bool {
        let rows = self.deletes.len() + self.updates.len() + self.inserts.len() + self.tombstones.len();
        rows + self.outcomes.len() + self.park.len() + self.unpark.len() == 0
    }

    /// Defers the columns that can wait: removes them from the rows and returns them as JSON, by name.
    pub(crate) fn take_deferred_columns(&mut self) -> Vec<(String, String)> {
        let json = |nickname: &Option<String>| serde_json::json!({"nickname": nickname}).to_string();
        let mut extras = Vec::new();
        for row in &mut self.inserts {
            if row.nickname.is_some() {
                extras.push((row.name.clone(), json(&row.nickname)));
                row.nickname = None;
            }
        }
        for (name, standing) in &self.nickname_updates {
            if let Some(row) = self.updates.iter_mut().find(|row| row.name == *name) {
                extras.push((name.clone(), json(&row.nickname)));
                row.nickname.clone_from(standing);
            }
        }
        extras
    }

    /// Every name whose row has changed.
    pub(crate) fn changed(&self) -> BTreeSet<String> {
        let rows = self.updates.iter().chain(&self.inserts);
        rows.map(|row| &row.name).chain(&self.deletes).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    fn row(name: &str, nickname: Option<&str>) -> UserRow {
        let at = Timestamp(1);
        UserRow {
            name: name.to_owned(),
            email: None,
            phone: None,
            password_hash: String::new(),
            nickname: nickname.map(str::to_owned),
            is_admin: false,
            created_at: at,
            updated_at: at,
            last_login_at: None,
            version: Version { at, id: String::new() },
        }
    }

    #[test]
    fn deferred_columns_are_stored_and_row_values_stay() {
        let mut writes = WriteSet {
            inserts: vec![row("ada", Some("A")), row("bob", None)],
            updates: vec![row("cid", None), row("dan", Some("old"))],
            nickname_updates: vec![("cid".to_owned(), Some("C".to_owned()))],
            ..WriteSet::default()
        };
        let extras = writes.take_deferred_columns();
        let json = |nickname: &str| format!("{{\"nickname\":{nickname}}}");
        assert_eq!(extras, [("ada".to_owned(), json("\"A\"")), ("cid".to_owned(), json("null"))]);
        assert_eq!(writes.inserts[0].nickname, None);
        assert_eq!(writes.updates[0].nickname.as_deref(), Some("C"));
        assert_eq!(writes.updates[1].nickname.as_deref(), Some("old"));
    }

    #[test]
    fn a_replaced_user_counts_as_one_change() {
        let writes = WriteSet {
            deletes: vec!["ada".to_owned(), "eve".to_owned()],
            updates: vec![row("cid", None)],
            inserts: vec![row("ada", None)],
            ..WriteSet::default()
        };
        assert_eq!(Vec::from_iter(writes.changed()), ["ada", "cid", "eve"]);
    }
}
