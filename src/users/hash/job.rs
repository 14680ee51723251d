//! A password to be hashed, and the receiver of the hash.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command::Secret;

/// bcrypt reads at most this many bytes of a password.
pub const LONGEST_PASSWORD: usize = 72;

/// Why no hash was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The hash would not be ready in time.
    #[error("too many passwords wait to be hashed")]
    Busy {
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// bcrypt would ignore the rest.
    #[error("a password has at most {LONGEST_PASSWORD} bytes")]
    TooLong,
    /// The daemon is shutting down.
    #[error("the daemon is stopping")]
    Closing,
}

/// The client for whom a password is hashed; `None` for the daemon itself.
pub(super) type ClientAddress = Option<IpAddr>;

/// Purpose of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashPurpose {
    /// Compare with a stored hash.
    Compare,
    /// Store, before the request is answered.
    Store,
    /// Store, after the request was answered.
    Deferred,
}

impl HashPurpose {
    pub const ALL: [Self; 3] = [Self::Compare, Self::Store, Self::Deferred];
    /// The purposes for which a client waits.
    pub const INTERACTIVE: [Self; 2] = [Self::Compare, Self::Store];
}

/// The properties that determine when a job is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobInfo {
    pub purpose: HashPurpose,
    pub client: ClientAddress,
    pub cost: u32,
}

/// One password to be hashed.
pub(super) struct Job {
    pub info: JobInfo,
    pub password: Secret,
    pub salt: [u8; 16],
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
    pub reply: HashReply,
}

/// Receiver of the hash.
pub(super) enum HashReply {
    Waiting(oneshot::Sender<Result<String, HashError>>),
    Callback(Box<dyn FnOnce(Result<String, HashError>) + Send>),
}

impl HashReply {
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Waiting(reply) if reply.is_closed())
    }

    pub fn send(self, hashed: Result<String, HashError>) {
        match self {
            // A client that no longer waits needs no reply.
            Self::Waiting(reply) => drop(reply.send(hashed)),
            Self::Callback(done) => done(hashed),
        }
    }
}
