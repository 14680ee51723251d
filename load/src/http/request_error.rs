//! Why a request has no response.

use std::io;

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No connection could be opened.
    Connect(String),
    /// The connection ended before the response, or the response is not HTTP.
    ConnectionLost(String),
    /// No token could be obtained.
    Login(String),
    /// No response within the timeout.
    Timeout,
    /// No connection was free in time.
    NotSent,
}

impl RequestError {
    /// The error's name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectionLost(_) => "connection_lost",
            Self::Login(_) => "login",
            Self::Timeout => "timeout",
            Self::NotSent => "not_sent",
        }
    }

    /// The text of the underlying error.
    pub fn detail(&self) -> &str {
        match self {
            Self::Connect(detail) | Self::ConnectionLost(detail) | Self::Login(detail) => detail,
            Self::Timeout => "no response within the timeout",
            Self::NotSent => "no connection was free in time",
        }
    }

    /// An error of opening a connection.
    pub fn connect(error: &io::Error) -> Self {
        Self::Connect(error.to_string())
    }

    /// An error of a connection that ended.
    pub fn lost(error: &hyper::Error) -> Self {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::ConnectionLost(format!("{error}{cause}"))
    }
}
