//! Limits of a listener and its connections.

use std::time::Duration;

/// Limits of one listener, from the `[server]` section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum bytes of request line and headers together.
    pub max_headers: usize,
    /// Maximum time from the first byte of a head to its last. Also the maximum time until a new connection sends its
    /// first byte.
    pub header_timeout: Duration,
    /// Maximum time from the end of a head to the end of its body. Also the maximum time for which a client may leave
    /// a response unread.
    pub body_timeout: Duration,
    /// Maximum idle time between two requests.
    pub idle_timeout: Duration,
    /// Maximum open connections.
    pub max_connections: usize,
    /// How long requests in progress may continue after a stop.
    pub shutdown_grace: Duration,
}
