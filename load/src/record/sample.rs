//! The result of one request.

use std::time::Duration;

use crate::http::RequestError;

/// The result of one request. Times are since the start of the run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Index of the operation.
    pub operation: usize,
    /// Due time.
    pub due: Duration,
    /// Time at which a connection was free.
    pub sent: Duration,
    /// End of the response, or time of the failure.
    pub done: Duration,
    /// Outcome.
    pub outcome: RequestOutcome,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// A response with an expected status.
    Good(u16),
    /// A response with another status, and the code of its problem document if it has one.
    Unexpected(u16, Option<String>),
    /// No response.
    Failed(RequestError),
}
