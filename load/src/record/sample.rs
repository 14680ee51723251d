//! What became of one request.

use std::time::Duration;

use crate::http::RequestError;

/// What became of one request. Times are since the start of the run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which operation it was.
    pub operation: usize,
    /// When it was due.
    pub due: Duration,
    /// When a connection was free for it.
    pub sent: Duration,
    /// When the answer was read, or the request was given up.
    pub done: Duration,
    /// How it ended.
    pub outcome: RequestOutcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// With a status that is expected.
    Good(u16),
    /// With another status, and the code of its problem document if it has one.
    Unexpected(u16, Option<String>),
    /// Without an answer.
    Failed(RequestError),
}
