//! A password to hash, and who gets the hash.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command::Secret;

/// bcrypt reads no more than this of a password.
pub const LONGEST_PASSWORD: usize = 72;

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It would not be ready in time.
    #[error("too many passwords wait to be hashed")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// bcrypt would ignore the rest.
    #[error("a password has at most {LONGEST_PASSWORD} bytes")]
    TooLong,
    /// Shutting down.
    #[error("the daemon is stopping")]
    Closing,
}

/// For whom a password is hashed: the address of a client, or none for the daemon itself.
pub(super) type ClientAddress = Option<IpAddr>;

/// What a password is hashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashPurpose {
    /// To be compared with a stored hash.
    Compare,
    /// To be stored, before the request is answered.
    Store,
    /// To be stored, after the request was answered.
    Deferred,
}

impl HashPurpose {
    pub const ALL: [Self; 3] = [Self::Compare, Self::Store, Self::Deferred];
    /// A client waits for the answer.
    pub const INTERACTIVE: [Self; 2] = [Self::Compare, Self::Store];
}

/// What decides when a job is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobInfo {
    pub purpose: HashPurpose,
    pub client: ClientAddress,
    pub cost: u32,
}

/// One password to hash.
pub(super) struct Job {
    pub info: JobInfo,
    pub password: Secret,
    pub salt: [u8; 16],
    /// When nobody waits any more.
    pub deadline: Option<Instant>,
    pub reply: HashReply,
}

/// Who gets the hash.
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
            // Whoever stopped waiting needs no answer.
            Self::Waiting(reply) => drop(reply.send(hashed)),
            Self::Callback(done) => done(hashed),
        }
    }
}
