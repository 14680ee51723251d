//! Response documents of the API. The OpenAPI description is derived from these types.

use schemars::JsonSchema;
use serde::Serialize;

use crate::command::{CommandId, CommandState, CommandStatus, KafkaPosition};
use crate::units::Timestamp;
use crate::users::Profile;

/// The durability of an accepted command: it is flushed to disk. No setting weakens it.
const DURABILITY: &str = "fsync";
const ACCEPTED: &str = "accepted";

/// One accepted command.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "accepted")]
pub struct Accepted<'a> {
    id: &'a str,
    #[schemars(extend("const" = ACCEPTED))]
    state: &'static str,
    #[schemars(extend("const" = DURABILITY))]
    durability: &'static str,
    #[schemars(with = "String", extend("format" = "date-time"))]
    accepted_at: Timestamp,
}

/// An accepted batch. The commands are in the order of its lines.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "accepted_batch")]
pub struct AcceptedBatch {
    #[schemars(extend("const" = DURABILITY))]
    durability: &'static str,
    #[schemars(with = "String", extend("format" = "date-time"))]
    accepted_at: Timestamp,
    commands: Vec<AcceptedCommand>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct AcceptedCommand {
    #[schemars(with = "String")]
    pub id: CommandId,
}

impl<'a> Accepted<'a> {
    pub fn new(id: &'a str, accepted_at: Timestamp) -> Self {
        Self { id, state: ACCEPTED, durability: DURABILITY, accepted_at }
    }
}

impl AcceptedBatch {
    pub fn new(accepted_at: Timestamp, commands: Vec<AcceptedCommand>) -> Self {
        Self { durability: DURABILITY, accepted_at, commands }
    }
}

/// The final statuses of a batch's commands, in the order of its lines.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "final_batch")]
pub struct FinalBatch<'a> {
    pub commands: Vec<StatusDocument<'a>>,
}

/// The status of a command.
// A separate type, because the `command` module must not depend on HTTP.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "status")]
pub struct StatusDocument<'a> {
    #[schemars(with = "String")]
    id: CommandId,
    kind: &'a str,
    key: Option<&'a str>,
    #[serde(with = "StateName")]
    state: CommandState,
    #[schemars(with = "String", extend("format" = "date-time"))]
    accepted_at: Timestamp,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    sent_at: Option<Timestamp>,
    kafka: Option<PositionDocument<'a>>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    finished_at: Option<Timestamp>,
    reason: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(remote = "CommandState", rename_all = "lowercase")]
#[schemars(inline)]
enum StateName {
    Accepted,
    Sent,
    Applied,
    Rejected,
    Dead,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PositionDocument<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl<'a> From<&'a CommandStatus> for StatusDocument<'a> {
    fn from(status: &'a CommandStatus) -> Self {
        let CommandStatus { id, kind, key, state, accepted_at, sent_at, kafka, finished_at, reason } = status;
        let place = |KafkaPosition { topic, partition, offset }: &'a KafkaPosition| PositionDocument {
            topic,
            partition: *partition,
            offset: *offset,
        };
        Self {
            id: *id,
            kind,
            key: key.as_deref(),
            state: *state,
            accepted_at: *accepted_at,
            sent_at: *sent_at,
            kafka: kafka.as_ref().map(place),
            finished_at: *finished_at,
            reason: reason.as_deref(),
        }
    }
}

/// A page of the list of users.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "users")]
pub struct UserPage<'a> {
    pub users: &'a [Profile],
    pub next_cursor: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "object")]
pub struct Empty {}
