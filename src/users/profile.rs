//! A user as others see it: without the password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::UserRow;
use crate::units::Timestamp;

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "user", deny_unknown_fields)]
pub struct Profile {
    /// Unique.
    pub name: String,
    /// Null for an administrator made by `forebay migrate`.
    pub email: Option<String>,
    /// Null for an administrator made by `forebay migrate`.
    pub phone: Option<String>,
    /// Free text.
    pub nickname: Option<String>,
    /// When the registration was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: Timestamp,
    /// When the newest change was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub updated_at: Timestamp,
    /// The newest login.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_login_at: Option<Timestamp>,
}

impl From<UserRow> for Profile {
    fn from(row: UserRow) -> Self {
        let UserRow { name, email, phone, nickname, created_at, updated_at, last_login_at, .. } = row;
        Self { name, email, phone, nickname, created_at, updated_at, last_login_at }
    }
}
