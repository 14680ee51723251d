//! Why the store has no answer.

use crate::backoff::CallError;

/// What went wrong, in words without keys and values: both hold personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// No answer in time. What was asked may have been done, or may still be.
    #[error("the key-value store did not answer in time ([redis] timeout)")]
    Timeout,
    /// Not to be reached, or not able to serve.
    #[error("the key-value store is unavailable: {0}")]
    Unavailable(String),
    /// One node of a cluster, while others answer: their keys are not concerned.
    #[error("a node of the cluster fails: {0}")]
    Node(Box<KvError>),
    /// A server of another kind than the configuration says.
    #[error("{0}")]
    WrongServerMode(&'static str),
    /// The account may not do this: an operator's to mend. Trying again does not help.
    #[error(
        "Redis refuses it (NOPERM): grant the user the commands, keys and channels that docs/users.md names"
    )]
    Denied,
    /// It answers, but what other daemons say on this channel is not heard.
    #[error("what other daemons say on channel {channel} is not heard: {why}")]
    NotSubscribed {
        /// Which.
        channel: String,
        /// Why the subscription failed.
        why: Box<KvError>,
    },
    /// It was away several times in a row and is not asked for the moment.
    #[error("the key-value store did not answer and is not asked for the moment")]
    BreakerOpen,
    /// An answer or a setting that makes no sense.
    #[error("the key-value store: {0}")]
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
