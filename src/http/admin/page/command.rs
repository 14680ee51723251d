//! The section with the status of one command.

use std::fmt::Write;

use super::format::{Text, time};
use crate::command::{CommandState, CommandStatus, KafkaPosition};
use crate::status::StatusError;

/// Renders the result of a look-up.
pub fn found(id: &str, found: &Result<CommandStatus, StatusError>) -> String {
    match found {
        Ok(status) => shown(status),
        Err(error) => format!(
            "<p class=\"note warning\"><span aria-hidden=\"true\">▲</span> <code>{}</code>: {}.</p>",
            Text(id),
            Text(&in_words(error))
        ),
    }
}

fn in_words(error: &StatusError) -> String {
    match error {
        StatusError::NotFound => {
            "no such command; either the id is wrong, or the command was delivered and has expired".to_owned()
        }
        other => other.to_string(),
    }
}

fn shown(status: &CommandStatus) -> String {
    let CommandStatus { id, kind, key, state, accepted_at, sent_at, kafka, finished_at, reason } = status;
    let (class, symbol, state) = match state {
        CommandState::Accepted => ("waits", "●", "accepted: on disk, not yet confirmed by Kafka"),
        CommandState::Sent => ("ok", "✓", "sent: confirmed by Kafka"),
        CommandState::Applied => ("ok", "✓", "applied"),
        CommandState::Rejected => ("warning", "▲", "rejected"),
        CommandState::Dead => ("error", "■", "dead: stored as a dead letter, needs an operator's decision"),
    };
    let mut html = format!(
        "<p class=\"note {class}\" data-state=\"{}\"><span aria-hidden=\"true\">{symbol}</span> {state}</p><dl \
         class=\"facts\">",
        state.split(':').next().unwrap_or_default()
    );
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // A write to a string cannot fail.
            let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
    };
    let text = |text: &str| Text(text).to_string();
    fact("Id", Some(text(&id.to_string())));
    fact("Kind", Some(text(kind)));
    fact("Key", key.as_deref().map(text));
    fact("Accepted", Some(time(*accepted_at)));
    fact("Sent", sent_at.map(time));
    fact("In Kafka", kafka.as_ref().map(place));
    fact("Finished", finished_at.map(time));
    fact("Reason", reason.as_deref().map(text));
    html += "</dl>";
    html
}

fn place(KafkaPosition { topic, partition, offset }: &KafkaPosition) -> String {
    format!("{}, partition {partition}, offset {offset}", Text(topic))
}
