//! What stands in the tables, one struct a table. Instants are milliseconds since 1970 in `BIGINT` columns: one
//! meaning in three databases, whatever the session's time zone.

use crate::units::Timestamp;

/// A row of `users`. The name is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// As registered.
    pub name: String,
    /// Normalised; unique. None for an administrator made by `forebay migrate`.
    pub email: Option<String>,
    /// In E.164; unique. None for an administrator made by `forebay migrate`.
    pub phone: Option<String>,
    /// bcrypt.
    pub password_hash: String,
    /// Free text.
    pub nickname: Option<String>,
    /// May see and change everybody.
    pub is_admin: bool,
    /// When the registration was accepted.
    pub created_at: Timestamp,
    /// When the newest change was accepted.
    pub updated_at: Timestamp,
    /// Written behind.
    pub last_login_at: Option<Timestamp>,
    /// The newest command applied: an older one that comes later is superseded.
    pub version: Version,
}

/// Which command a row's content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When the command was accepted (`CommandId::accepted_at`).
    pub at: Timestamp,
    /// Its id's text.
    pub id: String,
}

/// Who has a name, an e-mail address or a phone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Whose.
    pub name: String,
    /// The e-mail address.
    pub email: Option<String>,
    /// The phone number.
    pub phone: Option<String>,
}

/// A row of `command_outcomes`: what became of a command, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// The command's id, as text.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Whose.
    pub name: String,
    /// `applied`, `rejected` or `dead`.
    pub state: String,
    /// The member at fault: `name`, `email` or `phone`.
    pub field: Option<String>,
    /// Why it was not applied: `taken`, `superseded`, `not_found`, or words.
    pub reason: Option<String>,
    /// Who asked for it; none in open mode. Only this principal or an administrator may read the status.
    pub actor: Option<String>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was applied or refused.
    pub finished_at: Timestamp,
    /// Where it lies in `user.commands.v1`; −1 where that is not known.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// A row of `audit`: who did what to whom, with what outcome. Kept when outcomes are let go of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The command's id, as text: one row a command.
    pub id: String,
    /// Who; none in open mode.
    pub actor: Option<String>,
    /// The command's kind.
    pub action: String,
    /// To whom.
    pub target: String,
    /// `applied`, `rejected` or `dead`.
    pub outcome: String,
    /// Why it was not applied.
    pub reason: Option<String>,
    /// When it was applied or refused.
    pub at: Timestamp,
}

/// A row of `parked_commands`: a command in `user.retry.v1`. While a name has one, later commands of that name follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRow {
    /// The command's id, as text.
    pub id: String,
    /// Whose.
    pub name: String,
    /// Order among the parked commands of a name.
    pub seq: i64,
    /// How often it was tried.
    pub attempts: i32,
}
