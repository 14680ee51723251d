//! What became of a command, in the words of the HTTP interface.

use serde::Serialize;

use super::{CommandId, has_consumer};
use crate::units::Timestamp;

/// How far a command has come. `Applied` and `Rejected` come from a consumer of ours; kinds without one end at
/// `Sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandState {
    /// On stable storage here.
    Accepted,
    /// Confirmed by the broker.
    Sent,
    /// Applied to the database.
    Applied,
    /// Refused by the database.
    Rejected,
    /// In the dead-letter store.
    Dead,
}

/// Where Kafka put a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaPosition {
    /// Topic.
    pub topic: String,
    /// Partition; −1 where the broker was not asked to say (`acks = 0`).
    pub partition: i32,
    /// Offset; −1 where the broker was not asked to say.
    pub offset: i64,
}

/// The status document of one command (docs/http-api.md#reading-a-status).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandStatus {
    /// The command.
    pub id: CommandId,
    /// Its kind.
    pub kind: String,
    /// Its key, if its kind declares one.
    pub key: Option<String>,
    /// How far it has come.
    pub state: CommandState,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the broker confirmed it.
    pub sent_at: Option<Timestamp>,
    /// Where it lies in Kafka.
    pub kafka: Option<KafkaPosition>,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
    /// Why it was rejected or is dead.
    pub reason: Option<String>,
}

impl CommandStatus {
    /// Whether nothing more will become of it. Kinds without a consumer of ours end at `sent`.
    pub fn is_final(&self) -> bool {
        match self.state {
            CommandState::Accepted => false,
            CommandState::Sent => !has_consumer(&self.kind),
            CommandState::Applied | CommandState::Rejected | CommandState::Dead => true,
        }
    }
}
