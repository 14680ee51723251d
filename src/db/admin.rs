//! Creating the first administrator, which no command can create.

use data_encoding::HEXLOWER;

use crate::units::Timestamp;

use super::error::DbError;
use super::rows::{AuditRow, UserRow, Version};
use super::{Database, random};

/// The audit's actor: any operator that may run `forebay migrate` on this database. No user name contains a colon.
const ACTOR: &str = "operator:migrate";
/// The audit's action.
const ACTION: &str = "user.create_admin";

impl Database {
    /// Creates an administrator without e-mail and phone, and its audit row, in one transaction. A name that is taken
    /// is a [`DbError::Conflict`].
    pub async fn create_admin(&self, name: &str, password_hash: &str, now: Timestamp) -> Result<(), DbError> {
        let admin = UserRow {
            name: name.to_owned(),
            email: None,
            phone: None,
            password_hash: password_hash.to_owned(),
            nickname: None,
            is_admin: true,
            created_at: now,
            updated_at: now,
            last_login_at: None,
            // No command created it.
            version: Version { at: now, id: String::new() },
        };
        let audit = AuditRow {
            id: audit_id()?,
            actor: Some(ACTOR.to_owned()),
            action: ACTION.to_owned(),
            target: name.to_owned(),
            outcome: "applied".to_owned(),
            reason: None,
            at: now,
        };
        let mut batch = self.begin().await?;
        batch.insert_users(&[admin]).await?;
        batch.insert_audit(&[audit]).await?;
        batch.commit().await
    }
}

/// A unique id that is no command's id: the same name may become an administrator again after it was deleted.
fn audit_id() -> Result<String, DbError> {
    Ok(format!("migrate:{}", HEXLOWER.encode(&random::bytes::<16>()?)))
}
