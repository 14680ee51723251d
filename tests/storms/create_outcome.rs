//! What an answer to a create means for who sent it.

use std::io;

use serde_json::Value;

use support::http::Response;

/// What a client knows after one attempt.
#[derive(Debug)]
pub enum CreateOutcome {
    /// Accepted: the ids, and the documents they stood in.
    Accepted { ids: Vec<Box<str>>, documents: Vec<Value> },
    /// Certainly not accepted.
    Refused(String),
    /// The connection ended first: it may have been accepted before that, and cannot be any more.
    ConnectionLost,
    /// No answer in time: it may be accepted now or later.
    TimedOut,
    /// An answer that nobody should get.
    Unexpected(String),
}

/// Refusals that a client has to expect, and that say for certain that nothing was accepted.
const REFUSALS: [&str; 8] = [
    "overloaded",
    "queue_full",
    "backlog_full",
    "stopping",
    "index_rebuilding",
    "unavailable",
    "disk_full",
    "timeout",
];

impl CreateOutcome {
    /// Reads what came back for a request of this many commands.
    pub fn of(result: io::Result<Response>, commands: usize) -> Self {
        let response = match result {
            Ok(response) => response,
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                return Self::TimedOut;
            }
            Err(_) => return Self::ConnectionLost,
        };
        let Ok(document) = serde_json::from_slice::<Value>(&response.body) else {
            return Self::Unexpected(format!("{}: {}", response.status, response.text()));
        };
        match (response.status, document["code"].as_str()) {
            (200 | 202, _) => Self::accepted(document, commands),
            (408 | 503 | 507, Some(code)) if REFUSALS.contains(&code) => Self::Refused(code.to_owned()),
            // The log failed while this was being written: recovery decides.
            (503, Some("poisoned")) => Self::ConnectionLost,
            (status, _) => Self::Unexpected(format!("{status}: {document}")),
        }
    }

    fn accepted(document: Value, commands: usize) -> Self {
        let documents = match &document["commands"] {
            Value::Array(documents) => documents.clone(),
            _ => vec![document.clone()],
        };
        let ids: Option<Vec<Box<str>>> =
            documents.iter().map(|document| document["id"].as_str().map(Box::from)).collect();
        match ids {
            Some(ids) if ids.len() == commands => Self::Accepted { ids, documents },
            _ => Self::Unexpected(format!("not {commands} ids: {document}")),
        }
    }
}
