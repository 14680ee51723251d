//! Interpretation of a response to a create request.

use std::io;

use serde_json::Value;

use support::http::Response;

/// A client's knowledge after one attempt.
#[derive(Debug)]
pub enum CreateOutcome {
    /// Accepted, with the ids and the documents that contained them.
    Accepted { ids: Vec<Box<str>>, documents: Vec<Value> },
    /// Certainly not accepted.
    Refused(String),
    /// The connection ended first. The request may have been accepted before that, but cannot be accepted any more.
    ConnectionLost,
    /// No response in time. The request may be accepted now or later.
    TimedOut,
    /// A response that no client should get.
    Unexpected(String),
}

/// Rejections that a client must expect, and that guarantee that nothing was accepted.
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
    /// Evaluates the response to a request with this many commands.
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
            // The log failed during the write, so recovery decides.
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
