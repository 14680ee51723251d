//! Errors of the key-value store.

use crate::backoff::CallError;

/// Why a call failed. The text contains no keys and values: both are personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// No reply within the timeout. The operation may have been done, or may still be done.
    #[error("the reservation store did not reply in time ([redis] timeout)")]
    Timeout,
    /// The store is unreachable, or cannot serve.
    #[error("the reservation store is unavailable: {0}")]
    Unavailable(String),
    /// One node of a cluster fails while others reply: their keys are not affected.
    #[error("a node of the cluster is failing: {0}")]
    Node(Box<KvError>),
    /// The server's kind (cluster node or not) differs from the configuration.
    #[error("{0}")]
    WrongServerMode(&'static str),
    /// The account lacks a permission. An operator has to grant it; a retry does not help.
    #[error(
        "Redis refused a command (NOPERM): grant the user the commands, keys and channels that docs/users.md lists"
    )]
    Denied,
    /// The store replies, but messages of other daemons on this channel are not received.
    #[error("messages of other daemons on channel {channel} are not received: {why}")]
    NotSubscribed {
        /// The channel.
        channel: String,
        /// Why the subscription failed.
        why: Box<KvError>,
    },
    /// Several calls in a row found the store unavailable, so calls are refused for a short time.
    #[error("the reservation store was unavailable, so calls to it are refused for a short time")]
    BreakerOpen,
    /// A reply or a setting that cannot be interpreted.
    #[error("the reservation store: {0}")]
    Malformed(String),
}

impl CallError for KvError {
    fn refused() -> Self {
        Self::BreakerOpen
    }

    fn is_outage(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_))
    }
}
