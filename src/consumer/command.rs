//! Parses a record into a command: the user it belongs to, and the request.

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::command::{CommandId, MAX_ACTOR_CHARS, USER_RETRY_TOPIC, UserKind, UserValue, is_storable_actor};
use crate::kafka::Record;
use crate::units::Timestamp;

/// Headers that the daemon sends (docs/http-api.md#records-in-kafka), and headers of the retry topic.
pub(super) const ID: &str = "forebay-command-id";
const KIND: &str = "forebay-kind";
const ACCEPTED_AT: &str = "forebay-accepted-at";
/// Number of attempts so far.
pub(super) const ATTEMPTS: &str = "forebay-attempts";
/// When the retry is due.
pub(super) const NOT_BEFORE: &str = "forebay-not-before";
/// Location of the record in `user.commands.v1`: `<partition>/<offset>`.
pub(super) const ORIGIN: &str = "forebay-origin";
/// Why the command is dead.
pub(super) const REASON: &str = "forebay-reason";
/// The command it waited behind when it was last sent back, and how often: `<id>/<attempts>/<times>`.
pub(super) const BEHIND: &str = "forebay-behind";

/// Stands in for the kind of a record without one.
const NO_KIND: &str = "unknown";
/// A longer key is no user's name. The columns hold no more.
const MAX_NAME: usize = 255;

/// One record, parsed as far as possible.
pub(super) struct Command {
    /// Command id. For a record without one: an id generated from its partition and offset.
    pub(super) id: String,
    /// The parsed command id, if it is valid.
    pub(super) parsed: Option<CommandId>,
    /// Command kind, as in the record.
    pub(super) kind: String,
    /// User name: the record's key.
    pub(super) name: String,
    /// The request, if it could be parsed.
    pub(super) request: Option<(UserKind, UserValue)>,
    /// Why the command cannot be applied. `None` implies a request.
    pub(super) fault: Option<String>,
    /// Time of acceptance.
    pub(super) accepted_at: Timestamp,
    /// Partition and offset in `user.commands.v1`; −1 if unknown.
    pub(super) origin: (i32, i64),
    /// Whether the record comes from the retry topic.
    pub(super) from_retry: bool,
    /// Attempts before this copy was sent to the retry topic; `None` if the record does not contain the number.
    pub(super) attempts: Option<i32>,
    /// Whether the broker has confirmed its dead letter.
    pub(super) dead_letter_sent: bool,
    /// Whether the command becomes dead without further attempts.
    pub(super) skip_retries: bool,
    /// The parked command of the same name whose record is lost. Commands behind it would wait indefinitely.
    pub(super) lost_predecessor: Option<String>,
    /// When the record was read.
    pub(super) received: SystemTime,
}

impl Command {
    /// Parses a record. An error is stored in [`Command::fault`].
    pub(super) fn read(record: &Record) -> Self {
        let from_retry = *record.topic == *USER_RETRY_TOPIC;
        let origin = match from_retry {
            true => record.header(ORIGIN).and_then(parse_origin).unwrap_or((-1, -1)),
            false => (record.partition, record.offset),
        };
        let parsed: Option<CommandId> = record.header(ID).and_then(|id| id.parse().ok());
        // Forty characters at most, like an id.
        let generated_id = || format!("{GENERATED_ID_PREFIX}{}-{}", record.partition, record.offset);
        let id = match (parsed, record.header(ID)) {
            (Some(id), _) => id.to_string(),
            // The record got its generated id when it was sent to the retry topic.
            (None, Some(id)) if from_retry && is_generated_id(id) => id.to_owned(),
            (None, _) => generated_id(),
        };
        let kind = record.header(KIND).unwrap_or(NO_KIND);
        let (name, request) = match name(record) {
            Some(name) => (name.to_owned(), request(record, kind, name, parsed)),
            // Under a name of its own, so that it blocks no other command.
            None => (id.clone(), Err("the record's key is not a user's name".to_owned())),
        };
        let (request, fault) = match request {
            Ok(request) => (Some(request), None),
            Err(fault) => (None, Some(fault)),
        };
        let from_header = record.header(ACCEPTED_AT).and_then(|at| at.parse().ok());
        Self {
            accepted_at: parsed.map(|id| id.accepted_at()).or(from_header).unwrap_or_else(Timestamp::now),
            kind: kind.chars().filter(|character| !character.is_control()).take(MAX_KIND).collect(),
            id,
            parsed,
            name,
            request,
            fault,
            origin,
            from_retry,
            attempts: record.header(ATTEMPTS).filter(|_| from_retry).and_then(|tries| tries.parse().ok()),
            dead_letter_sent: false,
            skip_retries: false,
            lost_predecessor: None,
            received: SystemTime::now(),
        }
    }

    /// The caller of the command, in the form that its column holds.
    pub(super) fn actor(&self) -> Option<String> {
        self.value()?.actor.as_deref().map(storable)
    }

    /// The value of the record.
    pub(super) fn value(&self) -> Option<&UserValue> {
        self.request.as_ref().map(|(_, value)| value)
    }

    /// Marks the command as not applicable at present.
    pub(super) fn mark_unapplicable(&mut self, reason: String) {
        self.fault = Some(reason);
    }

    /// Marks the command as permanently not applicable, without further attempts.
    pub(super) fn give_up(&mut self, reason: &str) {
        self.mark_unapplicable(reason.to_owned());
        self.skip_retries = true;
    }

    /// Whether the command cannot be applied.
    pub(super) fn is_unapplicable(&self) -> bool {
        self.fault.is_some()
    }
}

/// Longer than every known kind. The column holds no more.
const MAX_KIND: usize = 32;

/// Whether [`Command::read`] generated this id.
fn is_generated_id(id: &str) -> bool {
    id.len() <= MAX_GENERATED_ID
        && id.starts_with(GENERATED_ID_PREFIX)
        && id.bytes().all(|byte| byte.is_ascii_graphic())
}

const GENERATED_ID_PREFIX: &str = "record-";
/// Prefix and two numbers. The column holds at most 64 characters.
const MAX_GENERATED_ID: usize = 40;

/// A caller's name that fits its column. The HTTP API accepts no longer name, but a record may come from another
/// producer, and a command must not be lost because of its caller. A longer name ends in a digest. If it were only cut,
/// two callers could become one and read the outcomes of each other's commands.
fn storable(actor: &str) -> String {
    if is_storable_actor(actor) {
        return actor.to_owned();
    }
    let digest = HEXLOWER.encode(&Sha256::digest(actor));
    let plain = actor.chars().filter(|character| !character.is_control());
    let kept: String = plain.take(MAX_ACTOR_CHARS - digest.len() - 1).collect();
    format!("{kept}#{digest}")
}

fn name(record: &Record) -> Option<&str> {
    let name = str::from_utf8(record.key.as_deref()?).ok()?;
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    is_name.then_some(name)
}

fn request(
    record: &Record,
    kind: &str,
    name: &str,
    id: Option<CommandId>,
) -> Result<(UserKind, UserValue), String> {
    if id.is_none() {
        return Err("the record has no command id".to_owned());
    }
    let kind = UserKind::parse(kind).ok_or("this version of forebay does not know the record's kind")?;
    let value = record.value.as_deref().unwrap_or_default();
    let value = UserValue::parse(value).map_err(|error| error.to_string())?;
    if value.name != name {
        return Err("the record's key differs from the name in its value".to_owned());
    }
    let complete = match kind {
        UserKind::Create => value.email.is_some() && value.phone.is_some() && value.password_hash.is_some(),
        UserKind::Password => value.password_hash.is_some(),
        UserKind::Update | UserKind::Delete => true,
    };
    if !complete {
        return Err("a field that the record's kind requires is missing".to_owned());
    }
    Ok((kind, value))
}

fn parse_origin(text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::USER_TOPIC;

    fn record(key: &str, kind: &str, value: &str) -> Record {
        let id = CommandId::from_bytes([7; 25]).to_string();
        Record {
            topic: USER_TOPIC.into(),
            partition: 3,
            offset: 9,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: vec![(ID.into(), id.into()), (KIND.into(), kind.into())],
        }
    }

    fn unfit(record: &Record) -> String {
        Command::read(record).fault.expect("an unparsable record has a fault")
    }

    #[test]
    fn a_command_is_parsed_and_keeps_its_origin() {
        let command = Command::read(&record("ada", "user.delete", r#"{"name":"ada","actor":"root"}"#));
        assert!(matches!(command.request, Some((UserKind::Delete, _))) && !command.is_unapplicable());
        assert_eq!((command.name.as_str(), command.origin), ("ada", (3, 9)));
        assert_eq!(command.actor().as_deref(), Some("root"));
    }

    #[test]
    fn a_long_caller_name_is_shortened_and_stays_unique() {
        let actor = |name: &str| {
            let value = UserValue { name: "ada".into(), actor: Some(name.into()), ..UserValue::default() };
            let record = record("ada", "user.delete", str::from_utf8(&value.to_bytes()).unwrap());
            Command::read(&record).actor().unwrap()
        };
        let fits = "ğ".repeat(255);
        assert_eq!(actor(&fits), fits);
        let (one, other) = (actor(&format!("{fits}1")), actor(&format!("{fits}2")));
        assert_ne!(one, other);
        for kept in [one, other, actor("a\0b")] {
            assert!(is_storable_actor(&kept), "{kept:?}");
        }
    }

    #[test]
    fn an_unparsable_record_has_a_reason_without_its_content() {
        let value = r#"{"name":"ada"}"#;
        for (wrong, why) in [
            (record("eve", "user.delete", value), "key differs from the name"),
            (record("ada", "user.rename", value), "does not know the record's kind"),
            (record("ada", "user.create", value), "is missing"),
            (record("ada", "user.delete", "geheim"), "not a user command"),
            (record("", "user.delete", value), "not a user's name"),
            (record("a\0b", "user.delete", value), "not a user's name"),
        ] {
            let reason = unfit(&wrong);
            assert!(reason.contains(why) && !reason.contains("geheim"), "{reason}");
        }
    }

    #[test]
    fn a_record_without_an_id_keeps_a_generated_id() {
        let mut record = record("ada", "user.delete", r#"{"name":"ada"}"#);
        record.headers.remove(0);
        let command = Command::read(&record);
        assert_eq!(command.parsed, None);
        record.headers.push((ID.into(), command.id.clone().into_bytes()));
        record.topic = USER_RETRY_TOPIC.into();
        record.offset = 1;
        assert_eq!(Command::read(&record).id, command.id);
        for foreign in ["x", "record-\0", &format!("record-{}", "9".repeat(64)), "record-ä"] {
            record.headers.pop();
            record.headers.push((ID.into(), foreign.into()));
            assert_eq!(Command::read(&record).id, "record-3-1", "{foreign:?} fits no column");
        }
    }
}
