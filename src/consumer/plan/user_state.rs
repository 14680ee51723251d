//! One name while a batch is judged: what stands in the database, and what shall.

use crate::db::UserRow;

/// One name.
#[derive(Default)]
pub(super) struct UserState {
    /// As it stands in the database.
    pub(super) stored: Option<UserRow>,
    /// As it shall be.
    pub(super) planned: Option<UserRow>,
    /// Deleted in between: the row that shall be is another one.
    pub(super) replaced: bool,
    /// Whether anything happened.
    pub(super) touched: bool,
    /// Whether the nickname was set.
    pub(super) sets_nickname: bool,
}

impl UserState {
    /// As the database has it.
    pub(super) fn read(row: UserRow) -> Self {
        Self { planned: Some(row.clone()), stored: Some(row), ..Self::default() }
    }

    /// The row there is.
    pub(super) fn set(&mut self, row: UserRow) {
        self.planned = Some(row);
        self.touched = true;
    }

    /// No row any more.
    pub(super) fn clear(&mut self) {
        self.planned = None;
        self.replaced = true;
        self.touched = true;
    }

    /// Whether its row in the database stays, perhaps with another content.
    pub(super) fn keeps_row(&self) -> bool {
        self.stored.is_some() && self.planned.is_some() && !self.replaced
    }
}
