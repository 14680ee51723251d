//! The status of a command, in the words of the HTTP interface.

use serde::Serialize;

use super::{CommandId, has_consumer};
use crate::units::Timestamp;

/// State of a command. `Applied` and `Rejected` are reported by a forebay consumer. Kinds without a consumer end at
/// `Sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandState {
    /// On stable storage in the log.
    Accepted,
    /// Acknowledged by the Kafka broker.
    Sent,
    /// Applied to the database.
    Applied,
    /// Rejected by the database.
    Rejected,
    /// In the dead-letter store.
    Dead,
}

/// The position of a record in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaPosition {
    /// Topic.
    pub topic: String,
    /// Partition; −1 if the broker does not report it (`acks = 0`).
    pub partition: i32,
    /// Offset; −1 if the broker does not report it.
    pub offset: i64,
}

/// The status document of one command (docs/http-api.md#reading-a-status).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandStatus {
    /// Command id.
    pub id: CommandId,
    /// Kind of the command.
    pub kind: String,
    /// Key of the command, if its kind declares one.
    pub key: Option<String>,
    /// Current state.
    pub state: CommandState,
    /// Time of acceptance.
    pub accepted_at: Timestamp,
    /// Time at which the broker confirmed it.
    pub sent_at: Option<Timestamp>,
    /// Its position in Kafka.
    pub kafka: Option<KafkaPosition>,
    /// Time at which it reached a final state.
    pub finished_at: Option<Timestamp>,
    /// Why it was rejected or dead-lettered.
    pub reason: Option<String>,
}

impl CommandStatus {
    /// Whether the state is final. Kinds without a forebay consumer end at `sent`.
    pub fn is_final(&self) -> bool {
        match self.state {
            CommandState::Accepted => false,
            CommandState::Sent => !has_consumer(&self.kind),
            CommandState::Applied | CommandState::Rejected | CommandState::Dead => true,
        }
    }
}
