//! A user as others see it: without the password.

use serde::Deserialize;
use serde::Serialize;

use crate::db::UserRow;
use crate::units::Timestamp;

/// The document of `GET /v1/users/{name}` (docs/http-api.md#users).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The key.
    pub name: String,
    /// Null for an administrator made by `forebay migrate`.
    pub email: Option<String>,
    /// Null for an administrator made by `forebay migrate`.
    pub phone: Option<String>,
    /// Free text.
    pub nickname: Option<String>,
    /// When the registration was accepted.
    pub created_at: Timestamp,
    /// When the newest change was accepted.
    pub updated_at: Timestamp,
    /// The newest login.
    pub last_login_at: Option<Timestamp>,
}

impl From<UserRow> for Profile {
    fn from(row: UserRow) -> Self {
        let UserRow { name, email, phone, nickname, created_at, updated_at, last_login_at, .. } = row;
        Self { name, email, phone, nickname, created_at, updated_at, last_login_at }
    }
}
