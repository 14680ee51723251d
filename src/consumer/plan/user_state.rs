//! One name while a batch is judged: what stands in the database, and what shall.

use crate::db::UserRow;

/// One name.
#[derive(Default)]
pub(super) struct UserState {
    /// As it stands in the database.
    pub(super) base: Option<UserRow>,
    /// As it shall be.
    pub(super) now: Option<UserRow>,
    /// Deleted in between: the row that shall be is another one.
    pub(super) replaced: bool,
    /// Whether anything happened.
    pub(super) touched: bool,
    /// Whether the nickname was set.
    pub(super) named: bool,
}

impl UserState {
    /// As the database has it.
    pub(super) fn read(row: UserRow) -> Self {
        Self { now: Some(row.clone()), base: Some(row), ..Self::default() }
    }

    /// The row there is.
    pub(super) fn set(&mut self, row: UserRow) {
        self.now = Some(row);
        self.touched = true;
    }

    /// No row any more.
    pub(super) fn clear(&mut self) {
        self.now = None;
        self.replaced = true;
        self.touched = true;
    }

    /// Whether its row in the database stays, perhaps with another content.
    pub(super) fn stays(&self) -> bool {
        self.base.is_some() && self.now.is_some() && !self.replaced
    }
}
