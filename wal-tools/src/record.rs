//! One record as all commands show it.

use forebay_wal::command::{CommandId, Envelope, KafkaPosition};
use forebay_wal::inspect::StoredRecord;
use forebay_wal::units::Timestamp;
use forebay_wal::{Lsn, RecordState};
use serde::Serialize;

use crate::cli::State;
use crate::text_format;

/// A record without its payload.
#[derive(Serialize)]
pub struct RecordRow {
    pub lsn: Lsn,
    /// `None` if the envelope cannot be read, because a newer version wrote it or the key is missing.
    pub id: Option<CommandId>,
    pub kind: String,
    pub key: Option<String>,
    pub accepted_at: Timestamp,
    pub state: State,
    /// Size in the log, in bytes.
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaPosition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requeued_as: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requeued_from: Option<Lsn>,
}

/// Returns the name of a state, as in statuses and in `--state`.
pub fn name(state: State) -> &'static str {
    match state {
        State::Accepted => "accepted",
        State::Sent => "sent",
        State::Dead => "dead",
        State::Requeued => "requeued",
    }
}

impl RecordRow {
    /// Creates the row of a record.
    pub fn of(stored: &StoredRecord) -> Self {
        let envelope = Envelope::decode(&stored.record.payload).ok();
        let unreadable = if stored.locked { "encrypted" } else { "unreadable" };
        let topic = envelope.as_ref().map_or("", |envelope| envelope.topic);
        let mut row = Self {
            lsn: stored.record.lsn,
            id: envelope.as_ref().map(|envelope| envelope.id),
            kind: envelope.as_ref().map_or(unreadable, |envelope| envelope.kind).to_owned(),
            key: envelope.as_ref().and_then(Envelope::key_text),
            accepted_at: stored.record.at,
            state: State::Accepted,
            bytes: stored.bytes,
            sent_at: None,
            kafka: None,
            reason: None,
            requeued_as: None,
            requeued_from: envelope.as_ref().and_then(|envelope| envelope.requeued_from),
        };
        row.apply_state(&stored.state, topic);
        row
    }

    fn apply_state(&mut self, state: &RecordState, topic: &str) {
        match state {
            RecordState::Accepted | RecordState::Unknown => {}
            RecordState::Sent(confirmation) => {
                self.state = State::Sent;
                self.sent_at = confirmation.map(|c| c.at);
                self.kafka = confirmation.map(|c| KafkaPosition {
                    topic: topic.to_owned(),
                    partition: c.partition,
                    offset: c.offset,
                });
            }
            RecordState::Dead { reason, .. } => {
                self.state = State::Dead;
                self.reason = Some(reason.clone());
            }
            RecordState::Dropped => {
                self.state = State::Dead;
                self.reason = Some("dropped by an operator".to_owned());
            }
            RecordState::Requeued(as_lsn) => {
                self.state = State::Requeued;
                self.requeued_as = Some(*as_lsn);
            }
        }
    }

    /// Headings of the columns of `cells`.
    pub const HEADINGS: [&str; 7] = ["#LSN", "ACCEPTED", "STATE", "#SIZE", "KIND", "KEY", "ID"];

    /// Returns the cells of the record's table row.
    pub fn cells(&self) -> [String; 7] {
        [
            self.lsn.to_string(),
            self.accepted_at.to_string(),
            name(self.state).to_owned(),
            text_format::size(self.bytes),
            text_format::without_control_chars(&self.kind),
            text_format::without_control_chars(self.key.as_deref().unwrap_or("-")),
            self.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        ]
    }
}
