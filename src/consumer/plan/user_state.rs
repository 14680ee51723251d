//! State of one user name during planning: the stored row and the planned row.

use crate::db::UserRow;

/// State of one user name.
#[derive(Default)]
pub(super) struct UserState {
    /// The row in the database.
    pub(super) stored: Option<UserRow>,
    /// The row after the batch.
    pub(super) planned: Option<UserRow>,
    /// Whether the user was deleted in between, so that the planned row is a new one.
    pub(super) replaced: bool,
    /// Whether any command changed the row.
    pub(super) touched: bool,
    /// Whether a command set the nickname.
    pub(super) sets_nickname: bool,
}

impl UserState {
    /// Starts from the row in the database.
    pub(super) fn read(row: UserRow) -> Self {
        Self { planned: Some(row.clone()), stored: Some(row), ..Self::default() }
    }

    /// Sets the planned row.
    pub(super) fn set(&mut self, row: UserRow) {
        self.planned = Some(row);
        self.touched = true;
    }

    /// Removes the planned row.
    pub(super) fn clear(&mut self) {
        self.planned = None;
        self.replaced = true;
        self.touched = true;
    }

    /// Whether the database row is kept, possibly with changed content.
    pub(super) fn keeps_row(&self) -> bool {
        self.stored.is_some() && self.planned.is_some() && !self.replaced
    }
}
