//! From a parsed command to its receipt after the flush. (Bodies follow.)
#![allow(unused_variables, clippy::todo, missing_docs)]

mod config;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::command::CommandId;
use crate::units::Timestamp;

pub use config::Config;

/// A command that may enter: parsed, validated, its key found.
#[derive(Clone, Debug)]
pub struct Submission {
    pub kind: Arc<str>,
    pub topic: Arc<str>,
    pub key: Option<Bytes>,
    pub content_type: Arc<str>,
    pub value: Bytes,
}

/// One request: one command or a batch, all or nothing.
#[derive(Clone, Debug)]
pub struct Request {
    pub commands: Vec<Submission>,
    pub traceparent: Option<String>,
    /// `Idempotency-Key`, and the whole body it is bound to.
    pub idempotency: Option<Idempotency>,
    pub principal: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    /// The request body as sent, byte for byte.
    pub body: Bytes,
}

/// The acknowledgement: everything in it is on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ids in the order of the commands.
    pub ids: Vec<CommandId>,
    pub accepted_at: Timestamp,
    /// Whether an earlier request with the same key was answered again.
    pub replayed: bool,
}

/// Why a request was not accepted. Nothing of it is in the log, except after `Poisoned` ("maybe").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("too many requests wait for a flush")]
    QueueFull,
    #[error("the backlog has reached its limit of {limit} bytes")]
    BacklogFull { limit: u64 },
    #[error("the disk has no room for another segment")]
    DiskFull,
    #[error("the log failed and takes nothing more")]
    Poisoned,
    #[error("the daemon is stopping")]
    Closing,
    #[error("the idempotency key was used with another body")]
    KeyConflict,
    #[error("the index of idempotency keys is being rebuilt")]
    IndexRebuilding,
    /// One batch must fit into one segment.
    #[error("{bytes} bytes do not fit into one segment; at most {limit} do")]
    TooLarge { bytes: u64, limit: u64 },
}

/// Whether creates would be accepted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Open,
    Closed(SubmitError),
}

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {}

impl Ingest {
    /// Commits the request and returns after the flush that covers it. If the future is dropped, the request may
    /// or may not have been accepted.
    pub async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        todo!()
    }

    /// What a create would be answered now (for /readyz).
    pub fn admission(&self) -> Admission {
        todo!()
    }

    /// How long a refused client should wait before it tries again, for `Retry-After`.
    pub fn retry_after(&self, error: &SubmitError) -> Duration {
        todo!()
    }
}
