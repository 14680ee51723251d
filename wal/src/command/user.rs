//! The four commands of the user service: the value of a record, in the log and in Kafka.
//!
//! ```json
//! {"name":"ada","email":"ada@example.org","phone":"+4917012345","nickname":null,"password_hash":"$2b$…",
//!  "claim":"0f…","actor":null}
//! ```
//!
//! Everything in a value was normalised when it was accepted, and is applied unchanged. The meaning of a phone number,
//! for example, depends on the region that a daemon is configured for, and on tables that change. A record that is
//! delivered again, to any consumer, must have the same result. A password that is not hashed yet is stored as
//! `password`, in an encrypted log only (`Envelope::sealed`). It never leaves the daemon.

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// The topic of all user commands, keyed by name (docs/http-api.md#records-in-kafka).
pub const USER_TOPIC: &str = "user.commands.v1";
/// Topic for commands that could not be applied yet and are retried.
pub const USER_RETRY_TOPIC: &str = "user.retry.v1";
/// Topic for commands that can never be applied.
pub const USER_DEAD_TOPIC: &str = "user.dead.v1";

/// The kind of a user command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserKind {
    /// Registers a user.
    Create,
    /// Changes e-mail, phone or nickname.
    Update,
    /// Changes the password.
    Password,
    /// Deletes the user.
    Delete,
}

impl UserKind {
    /// All four kinds.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Password, Self::Delete];

    /// Name of the kind, as in a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "user.create",
            Self::Update => "user.update",
            Self::Password => "user.password",
            Self::Delete => "user.delete",
        }
    }

    /// The kind with this name.
    pub fn parse(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind)
    }
}

/// Longest name of a caller, in characters. The database columns have this size.
pub const MAX_ACTOR_CHARS: usize = 255;

/// Whether the tables can store this as a caller's name. MySQL refuses longer names, PostgreSQL refuses NUL characters.
pub fn is_storable_actor(name: &str) -> bool {
    name.chars().nth(MAX_ACTOR_CHARS).is_none() && !name.chars().any(char::is_control)
}

/// Whether a forebay consumer applies commands of this kind, so that `sent` is not their final state.
pub fn has_consumer(kind: &str) -> bool {
    kind.starts_with("user.")
}

/// The value of any of the four commands. The kind decides which members it has: `Create` has all, except that
/// `nickname` is optional. `Update` has the changed ones, `Password` the new password, and `Delete` only the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserValue {
    /// Name of the user; also the key of the record.
    pub name: String,
    /// Normalised e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Phone number in E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Nickname. Absent: unchanged. Null: none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub nickname: Option<Option<String>>,
    /// bcrypt hash of the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// A password that is not hashed yet; only in an encrypted log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Owner id in the command's reservations, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The caller that sent the command; none in mode `open`. The HTTP interface only accepts an [`is_storable_actor`].
    #[serde(default)]
    pub actor: Option<String>,
}

impl UserValue {
    /// Parses the value of a record. The error contains nothing of the value.
    pub fn parse(value: &[u8]) -> Result<Self, UnknownValue> {
        serde_json::from_slice(value).map_err(|error| UnknownValue { column: error.column() })
    }

    /// The bytes of the value, as stored in a record.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Only strings and options of strings: serialization cannot fail.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The value of a record is not a user command that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a user command this version of forebay knows (column {column})")]
pub struct UnknownValue {
    column: usize,
}

/// A password. It is not printed, and its memory is overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A member that is present is `Some`, whether it is null or not.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_and_tells_null_from_absent() {
        let value = UserValue { name: "ada".into(), nickname: Some(None), ..UserValue::default() };
        let bytes = value.to_bytes();
        assert_eq!(&bytes[..], br#"{"name":"ada","nickname":null,"actor":null}"#);
        assert_eq!(UserValue::parse(&bytes), Ok(value));
        assert_eq!(UserValue::parse(br#"{"name":"ada"}"#).unwrap().nickname, None);
    }

    #[test]
    fn a_callers_name_fits_the_columns_and_has_no_nul() {
        for (name, storable) in [
            ("service:billing", true),
            (&*"ğ".repeat(255), true),
            (&*"a".repeat(256), false),
            ("a\0b", false),
        ] {
            assert_eq!(is_storable_actor(name), storable, "{name:?}");
        }
    }

    #[test]
    fn an_unknown_member_is_refused_without_being_repeated() {
        let error = UserValue::parse(br#"{"name":"ada","geheim":1}"#).unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let value = UserValue { password: Some(Secret::new("hunter2".into())), ..UserValue::default() };
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
