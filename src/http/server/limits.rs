//! Bounds of a listener and its connections.

use std::time::Duration;

/// Bounds of one listener; the defaults stand in the `[server]` section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Bytes of request line and headers.
    pub max_headers: usize,
    /// From the first byte of a head to its last; also how long a new connection may stay silent.
    pub header_timeout: Duration,
    /// From the end of a head to the end of its body; also how long a client may leave an answer unread.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Connections open at a time.
    pub max_connections: usize,
    /// How long open requests may take to finish after a stop.
    pub shutdown_grace: Duration,
}
