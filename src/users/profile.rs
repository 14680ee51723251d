//! A user's public data, without the password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::UserRow;
use crate::units::Timestamp;

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "user", deny_unknown_fields)]
pub struct Profile {
    /// Unique name.
    pub name: String,
    /// E-mail address; null for an administrator created by `forebay migrate`.
    pub email: Option<String>,
    /// Phone number; null for an administrator created by `forebay migrate`.
    pub phone: Option<String>,
    /// Nickname, free text.
    pub nickname: Option<String>,
    /// When the registration was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: Timestamp,
    /// When the latest change was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub updated_at: Timestamp,
    /// Time of the latest login.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_login_at: Option<Timestamp>,
}

impl From<UserRow> for Profile {
    fn from(row: UserRow) -> Self {
        let UserRow { name, email, phone, nickname, created_at, updated_at, last_login_at, .. } = row;
        Self { name, email, phone, nickname, created_at, updated_at, last_login_at }
    }
}
