//! The four commands of the user service, as they travel: the value of a record, in the log and in Kafka.
//!
//! ```json
//! {"name":"ada","email":"ada@example.org","phone":"+4917012345","nickname":null,"password_hash":"$2b$…",
//!  "claim":"0f…","actor":null}
//! ```
//!
//! Everything in it was normalised when it was accepted, and is applied as it stands: which number a spelling means
//! depends on the region that a daemon is configured for, and on tables that change; a record that is delivered again,
//! to whichever consumer, must have the same result. A password that waits to be hashed stands there as `password`, in
//! an encrypted log only (`Envelope::sealed`); it never leaves the daemon.

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// The one topic of all users' commands, keyed by name (docs/http-api.md#records-in-kafka).
pub const USER_TOPIC: &str = "user.commands.v1";
/// Where commands wait that could not be applied.
pub const USER_RETRY_TOPIC: &str = "user.retry.v1";
/// Where commands end that never could be applied.
pub const USER_DEAD_TOPIC: &str = "user.dead.v1";

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserKind {
    /// Register.
    Create,
    /// Change e-mail, phone or nickname.
    Update,
    /// Change the password.
    Password,
    /// Delete.
    Delete,
}

impl UserKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Password, Self::Delete];

    /// The command's kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "user.create",
            Self::Update => "user.update",
            Self::Password => "user.password",
            Self::Delete => "user.delete",
        }
    }

    /// From the command's kind.
    pub fn parse(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind)
    }
}

/// The longest name of a caller, in characters: what the columns hold.
pub const MAX_ACTOR_CHARS: usize = 255;

/// Whether the tables hold this as a caller's name. MySQL refuses longer ones, PostgreSQL a NUL.
pub fn is_storable_actor(name: &str) -> bool {
    name.chars().nth(MAX_ACTOR_CHARS).is_none() && !name.chars().any(char::is_control)
}

/// Whether commands of this kind are applied by a consumer of ours, so that `sent` is not their end.
pub fn has_consumer(kind: &str) -> bool {
    kind.starts_with("user.")
}

/// The value of any of the four commands. Which members stand in it follows from the kind: `Create` has all but
/// `nickname` for certain, `Update` what changes, `Password` the new password, `Delete` the name alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserValue {
    /// Whose command it is; also the record's key.
    pub name: String,
    /// Normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// In E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Absent: unchanged. Null: none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub nickname: Option<Option<String>>,
    /// bcrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Waiting to be hashed; only in an encrypted log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The claim that its pending markers name, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Who asked for it; none in open mode. From our door always one that [`is_storable_actor`].
    #[serde(default)]
    pub actor: Option<String>,
}

impl UserValue {
    /// Reads the value of a record. The error names no content.
    pub fn parse(value: &[u8]) -> Result<Self, UnknownValue> {
        serde_json::from_slice(value).map_err(|error| UnknownValue { column: error.column() })
    }

    /// As it stands in a record.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Strings and options of strings: this cannot fail.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The value of a record is not a user command this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a user command this version of forebay knows (column {column})")]
pub struct UnknownValue {
    column: usize,
}

/// A password; not shown, and wiped when it goes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
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

/// A member that is there is `AnySectors`, null or not.
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
    fn a_callers_name_has_as_many_characters_as_the_columns_and_no_nul() {
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
