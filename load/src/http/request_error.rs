//! Why a request has no answer.

use std::io;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No connection could be opened.
    Connect(String),
    /// The connection ended before the answer, or the answer is not HTTP.
    ConnectionLost(String),
    /// The target gave no token.
    Login(String),
    /// No answer within the time-out.
    Timeout,
    /// No connection was free in time.
    NotSent,
}

impl RequestError {
    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectionLost(_) => "connection_lost",
            Self::Login(_) => "login",
            Self::Timeout => "timeout",
            Self::NotSent => "not_sent",
        }
    }

    /// The error in the words of the system.
    pub fn detail(&self) -> &str {
        match self {
            Self::Connect(detail) | Self::ConnectionLost(detail) | Self::Login(detail) => detail,
            Self::Timeout => "no answer within the time-out",
            Self::NotSent => "no connection was free in time",
        }
    }

    /// A connection that could not be opened.
    pub fn connect(error: &io::Error) -> Self {
        Self::Connect(error.to_string())
    }

    /// A connection that ended.
    pub fn lost(error: &hyper::Error) -> Self {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::ConnectionLost(format!("{error}{cause}"))
    }
}
