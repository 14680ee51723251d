//! What is handed in, what is handed out, and the digests that recognise a repetition.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{CommandId, KeyedDigest, Owner, RequestDigest};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// A command that may enter: parsed, validated, its key found.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its kind.
    pub kind: Arc<str>,
    /// Where it goes.
    pub topic: Arc<str>,
    /// Its Kafka key.
    pub key: Option<Bytes>,
    /// Media type of the value; empty where it has none.
    pub content_type: Arc<str>,
    /// Headers for Kafka beside those that every record has, as [`Headers::encode`](crate::command::Headers::encode)
    /// writes them.
    pub headers: Bytes,
    /// What its pending markers name as their owner; none for commands without markers.
    pub claim: Option<[u8; 16]>,
    /// Keyed digest of the normalised body, by which a repetition is recognised once its markers were lost.
    pub fingerprint: Option<[u8; 16]>,
    /// Whether a password in the value waits to be hashed.
    pub sealed: bool,
    /// Whether Kafka gets no value, which is not the same as an empty one.
    pub no_value: bool,
    /// What Kafka gets, byte for byte, unless it is sealed.
    pub value: Bytes,
}

/// One request: one command or a batch, all or nothing.
#[derive(Clone, Debug)]
pub struct Request {
    /// In the order of the answer.
    pub commands: Vec<Submission>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// `Idempotency-Key`, and the body it is bound to.
    pub idempotency: Option<Idempotency>,
    /// Who sends it; none in open mode.
    pub principal: Option<Owner>,
}

/// A client's word that a repetition of this request is the same request.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// The request body as sent, byte for byte.
    pub body: Bytes,
    /// Method and path, where the key is bound to them; none: to POST and the commands' kind.
    pub route: Option<String>,
}

/// The acknowledgement: everything in it is on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ids in the order of the commands.
    pub ids: Vec<CommandId>,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// Whether an earlier request with the same key is answered again.
    pub replayed: bool,
}

/// Why a request was not accepted. Nothing of it is in the log, unless [`SubmitError::is_undecided`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The waiting queue is at its bound.
    #[error("too many requests wait for a flush")]
    QueueFull,
    /// `max_backlog_size` is reached.
    #[error("the backlog has reached its limit of {limit} bytes")]
    BacklogFull {
        /// The limit.
        limit: u64,
    },
    /// The next segment cannot be filled.
    #[error("the disk has no room for another segment")]
    DiskFull,
    /// The next segment is still being filled.
    #[error("the disk is slow: the next segment of the log is not ready yet")]
    SegmentNotReady,
    /// The disk has not confirmed the request in time. It may still be accepted.
    #[error(
        "the disk has not confirmed this request in time, and it may still be accepted; a repetition with the same \
         Idempotency-Key is accepted once"
    )]
    Undecided,
    /// A write or flush failed. Final.
    #[error("the log failed and takes nothing more")]
    Poisoned,
    /// Shutting down.
    #[error("the daemon is stopping")]
    Closing,
    /// Same key, another body.
    #[error("the idempotency key was used with another body")]
    KeyConflict,
    /// It cannot be told whether the key was used.
    #[error("the index of idempotency keys is being rebuilt")]
    IndexRebuilding,
    /// A password waits to be hashed in it, and it would lie in the log as it is.
    #[error("it holds a password, and the log is not encrypted")]
    Unencrypted,
    /// One batch must fit into one segment.
    #[error("{bytes} bytes do not fit into one segment; at most {limit} do")]
    TooLarge {
        /// What it takes.
        bytes: u64,
        /// What there is.
        limit: u64,
    },
}

impl SubmitError {
    /// Whether the log may hold the request all the same.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Poisoned | Self::Undecided)
    }
}

/// Whether creates would be accepted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They would.
    Open,
    /// Each would get this answer.
    Closed(SubmitError),
}

impl Request {
    /// What it takes in memory, roughly: bounds the queue.
    pub(super) fn bytes(&self) -> usize {
        // Envelope, frame, queue entry and channel of one command.
        const OVERHEAD: usize = 512;
        let of = |c: &Submission| {
            c.value.len() + c.headers.len() + c.content_type.len() + c.key.as_ref().map_or(0, Bytes::len)
        };
        self.commands.iter().map(|command| of(command) + OVERHEAD).sum()
    }
}

/// What an earlier request with the same key is recognised by.
#[derive(Clone, Copy)]
pub(super) struct KeyDigests {
    /// What is written into the log.
    pub repeat: RequestDigest,
    /// What the first versions wrote, where that was something else.
    pub legacy: Option<LegacyKey>,
}

/// The key of a caller without a token was not bound to its body then, and the one of a user to the name alone.
#[derive(Clone, Copy)]
pub(super) struct LegacyKey {
    pub repeat: RequestDigest,
    /// What was accepted before this is an older user's of the name.
    pub since: Timestamp,
    /// Whether another body under it is a mistake of the sender's; without a token it may be another sender's.
    pub is_unique_to_client: bool,
}

/// Digests under the log's secret.
pub(super) struct RequestDigests(KeyedDigest);

impl RequestDigests {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(KeyedDigest::new(secret))
    }

    /// What a repetition of the request is recognised by. A caller without a token is told from the others by its body
    /// only: two of them may use one key, each for a request of its own. A user is told from earlier users of the name by
    /// the registration.
    pub fn for_request(&self, request: &Request, idempotency: &Idempotency) -> KeyDigests {
        let body = self.0.of(&[b"body", &idempotency.body]);
        let count = request.commands.len() as u32;
        let older = RequestDigest { scope: self.scope(request, idempotency), body, count };
        let (scope, since, is_ones_own) = match &request.principal {
            None => (self.0.of(&[b"anonymous", &older.scope, &body]), Timestamp::default(), false),
            Some(Owner { registered_at: Some(at), .. }) => {
                (self.0.of(&[b"account", &older.scope, &at.0.to_le_bytes()]), *at, true)
            }
            Some(Owner { registered_at: None, .. }) => return KeyDigests { repeat: older, legacy: None },
        };
        let repeat = RequestDigest { scope, ..older };
        KeyDigests {
            repeat,
            legacy: Some(LegacyKey { repeat: older, since, is_unique_to_client: is_ones_own }),
        }
    }

    /// The scope is principal, and method and kind or route, beside the key itself; every command of a request has one
    /// kind. What it is made of stands in every log so far: keys in them must be recognised.
    fn scope(&self, request: &Request, idempotency: &Idempotency) -> [u8; 16] {
        let principal = request.principal.as_ref().map_or("", |owner| &owner.name).as_bytes();
        let key = idempotency.key.as_bytes();
        match &idempotency.route {
            Some(route) => self.0.of(&[b"route", principal, route.as_bytes(), key]),
            None => {
                let kind = request.commands.first().map_or("", |command| &command.kind);
                self.0.of(&[b"scope", principal, b"POST", kind.as_bytes(), key])
            }
        }
    }

    /// What tells a record from every other one.
    pub fn record_digest(&self, payload: &[u8]) -> [u8; 16] {
        self.0.of(&[b"record", payload])
    }

    /// Where the index has a claim; no key's scope is made of the same parts.
    pub fn claim_digest(&self, claim: &[u8; 16]) -> [u8; 16] {
        self.0.of(&[b"claim", claim])
    }
}

/// What a request was answered with.
pub(super) enum CommitOutcome {
    New(Receipt),
    /// An earlier request had the same key; its records begin here.
    Repeat(Lsn),
}
