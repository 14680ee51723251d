//! The rows of the tables, one struct per table. Instants are milliseconds since 1970 in `BIGINT` columns: they mean
//! the same in all three databases, whatever the session's time zone.

use crate::units::Timestamp;

/// A row of `users`. The name is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Name, as registered.
    pub name: String,
    /// E-mail address, normalised and unique. `None` for an administrator created by `forebay migrate`.
    pub email: Option<String>,
    /// Phone number in E.164, unique. `None` for an administrator created by `forebay migrate`.
    pub phone: Option<String>,
    /// bcrypt hash.
    pub password_hash: String,
    /// Free text.
    pub nickname: Option<String>,
    /// Whether the user may read and change all users.
    pub is_admin: bool,
    /// When the registration was accepted.
    pub created_at: Timestamp,
    /// When the newest change was accepted.
    pub updated_at: Timestamp,
    /// Time of the last login. It is written asynchronously, after the login.
    pub last_login_at: Option<Timestamp>,
    /// The newest applied command. An older command that arrives later is superseded.
    pub version: Version,
}

/// The command that wrote a row's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When the command was accepted (`CommandId::accepted_at`).
    pub at: Timestamp,
    /// The command's id, as text.
    pub id: String,
}

/// The holder of a name, an e-mail address or a phone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the user.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
}

/// A row of `command_outcomes`: the final outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// The command's id, as text.
    pub id: String,
    /// The command's kind.
    pub kind: String,
    /// Name of the user that the command is about.
    pub name: String,
    /// `applied`, `rejected` or `dead`.
    pub state: String,
    /// The field that caused a rejection: `name`, `email` or `phone`.
    pub field: Option<String>,
    /// Why it was not applied: `taken`, `superseded`, `not_found`, or a text.
    pub reason: Option<String>,
    /// The principal that sent the command; `None` in open mode. Only this principal or an administrator may read the
    /// status.
    pub actor: Option<String>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was applied or refused.
    pub finished_at: Timestamp,
    /// Partition of the command in `user.commands.v1`; −1 if unknown.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
}

/// A row of `audit`: actor, action, target and outcome. It remains when the outcome expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The command's id, as text: one row per command.
    pub id: String,
    /// The actor; `None` in open mode.
    pub actor: Option<String>,
    /// The command's kind.
    pub action: String,
    /// Name of the affected user.
    pub target: String,
    /// `applied`, `rejected` or `dead`.
    pub outcome: String,
    /// Why it was not applied.
    pub reason: Option<String>,
    /// When it was applied or refused.
    pub at: Timestamp,
}

/// A row of `parked_commands`: a command in `user.retry.v1`. While a name has such a row, later commands of that name
/// are parked too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRow {
    /// The command's id, as text.
    pub id: String,
    /// Name of the user that the command is about.
    pub name: String,
    /// Order among the parked commands of a name.
    pub seq: i64,
    /// Number of attempts so far.
    pub attempts: i32,
}
