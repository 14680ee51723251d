//! Rows of `users`: the columns, in one order for every query.

use serde_json::{Map, Value as Json};

use super::error::DbError;
use super::row::Row;
use super::rows::{Holder, UserRow, Version};
use super::value::{Value, millis};

/// The columns of a row, as they are inserted.
pub(super) const COLUMNS: [&str; 11] = [
    "name",
    "email",
    "phone",
    "password_hash",
    "nickname",
    "is_admin",
    "created_at",
    "updated_at",
    "last_login_at",
    "applied_at",
    "applied_id",
];

/// Selects a user's columns and deferred columns (`user_extras`). A condition follows.
pub(super) const SELECT: &str = "SELECT name, email, phone, password_hash, nickname, is_admin, created_at, \
     updated_at, last_login_at, applied_at, applied_id, \
     (SELECT extras FROM user_extras WHERE user_extras.name = users.name) FROM users";

/// Selects the columns of a holder. A condition follows.
pub(super) const SELECT_HOLDER: &str = "SELECT name, email, phone FROM users";

/// The user of a row of [`SELECT`], and whether some of its columns are deferred.
pub(super) fn user(row: &Row) -> Result<(UserRow, bool), DbError> {
    let mut user = UserRow {
        name: row.text(0)?,
        email: row.maybe_text(1)?,
        phone: row.maybe_text(2)?,
        password_hash: row.text(3)?,
        nickname: row.maybe_text(4)?,
        is_admin: row.flag(5)?,
        created_at: row.instant(6)?,
        updated_at: row.instant(7)?,
        last_login_at: row.maybe_instant(8)?,
        version: Version { at: row.instant(9)?, id: row.text(10)? },
    };
    let extras = row.maybe_text(11)?;
    if let Some(extras) = &extras {
        apply_extras(&mut user, &parse_extras(extras)?);
    }
    Ok((user, extras.is_some()))
}

/// The values of a row, in the order of [`COLUMNS`].
pub(super) fn values(user: &UserRow) -> [Value<'_>; 11] {
    [
        (&user.name).into(),
        (&user.email).into(),
        (&user.phone).into(),
        (&user.password_hash).into(),
        (&user.nickname).into(),
        Value::Bool(user.is_admin),
        user.created_at.into(),
        user.updated_at.into(),
        Value::MaybeInt(user.last_login_at.map(millis)),
        user.version.at.into(),
        (&user.version.id).into(),
    ]
}

pub(super) fn holder(row: &Row) -> Result<Holder, DbError> {
    Ok(Holder { name: row.text(0)?, email: row.maybe_text(1)?, phone: row.maybe_text(2)? })
}

/// Parses deferred columns: a JSON object.
pub(super) fn parse_extras(extras: &str) -> Result<Map<String, Json>, DbError> {
    serde_json::from_str(extras)
        .map_err(|_| DbError::Refused("the extras of a user are not a JSON object".to_owned()))
}

/// Merges deferred columns into a user. Members that this version does not know are ignored.
pub(super) fn apply_extras(user: &mut UserRow, extras: &Map<String, Json>) {
    match extras.get("nickname") {
        Some(Json::String(nickname)) => user.nickname = Some(nickname.clone()),
        Some(Json::Null) => user.nickname = None,
        _ => {}
    }
}
