//! Requests, receipts and errors of the commit path, and the digests that recognise a repetition.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{CommandId, KeyedDigest, Owner, RequestDigest};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// A parsed and validated command, ready to be appended.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Command kind.
    pub kind: Arc<str>,
    /// Kafka topic.
    pub topic: Arc<str>,
    /// Kafka key.
    pub key: Option<Bytes>,
    /// Media type of the value; empty if unknown.
    pub content_type: Arc<str>,
    /// Kafka headers in addition to those of every record, encoded by
    /// [`Headers::encode`](crate::command::Headers::encode).
    pub headers: Bytes,
    /// The claim: the owner that the command's reservations name. `None` for commands without reservations.
    pub claim: Option<[u8; 16]>,
    /// Keyed digest of the normalised body. It recognises a repetition after the reservations were lost.
    pub fingerprint: Option<[u8; 16]>,
    /// Whether the value holds a password that is not yet hashed.
    pub sealed: bool,
    /// Whether the Kafka record has a null value, which differs from an empty one.
    pub no_value: bool,
    /// The Kafka value, byte for byte, unless `sealed` is set.
    pub value: Bytes,
}

/// One request: one command or a batch, committed all or nothing.
#[derive(Clone, Debug)]
pub struct Request {
    /// The commands, in the order of the response.
    pub commands: Vec<Submission>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// `Idempotency-Key`, and the body it is bound to.
    pub idempotency: Option<Idempotency>,
    /// The authenticated sender; `None` in open mode.
    pub principal: Option<Owner>,
}

/// An idempotency key, with the body it is bound to.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// The request body as sent, byte for byte.
    pub body: Bytes,
    /// Method and path, if the key is bound to them. `None` binds it to POST and the commands' kind.
    pub route: Option<String>,
}

/// The acknowledgement. All its commands are on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ids in the order of the commands.
    pub ids: Vec<CommandId>,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// Whether this repeats the receipt of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// Why a request was not accepted. None of it is in the log, unless [`SubmitError::is_undecided`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The commit queue is full.
    #[error("too many requests wait for a flush")]
    QueueFull,
    /// The backlog has reached `max_backlog_size`.
    #[error("the backlog has reached its limit of {limit} bytes")]
    BacklogFull {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not enough free space for the next segment.
    #[error("the disk has no room for another segment above the reserve ([wal] reserve_space)")]
    DiskFull,
    /// The next segment is still being preallocated.
    #[error("the disk is slow: the next segment of the log is not ready yet")]
    SegmentNotReady,
    /// The flush exceeded its deadline. The request may still be accepted.
    #[error(
        "the disk has not confirmed this request in time, and it may still be accepted; a repetition with the same \
         Idempotency-Key is accepted once"
    )]
    Undecided,
    /// A write or flush failed. Final until a restart.
    #[error("the log failed and accepts no more records")]
    Poisoned,
    /// The daemon is shutting down.
    #[error("the daemon is stopping")]
    Closing,
    /// The key was used with another body.
    #[error("send the bytes of the first request, or use a new key")]
    KeyConflict,
    /// The index cannot currently tell whether the key was used.
    #[error("the index of idempotency keys is being rebuilt")]
    IndexRebuilding,
    /// The request holds a password that is not yet hashed, and the log is not encrypted.
    #[error("the request holds a password, and the log is not encrypted")]
    Unencrypted,
    /// One batch must fit into one segment.
    #[error("{bytes} bytes do not fit into one segment; at most {limit} do")]
    TooLarge {
        /// Size of the batch in the log.
        bytes: u64,
        /// Maximum size.
        limit: u64,
    },
}

impl SubmitError {
    /// Whether the log may hold the request despite the error.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Poisoned | Self::Undecided)
    }
}

/// Whether creates are accepted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Creates are accepted.
    Open,
    /// Creates are refused with this error.
    Closed(SubmitError),
}

impl Request {
    /// Approximate memory of the request; it bounds the queue.
    pub(super) fn bytes(&self) -> usize {
        // Envelope, frame, queue entry and channel of one command.
        const OVERHEAD: usize = 512;
        let of = |c: &Submission| {
            c.value.len() + c.headers.len() + c.content_type.len() + c.key.as_ref().map_or(0, Bytes::len)
        };
        self.commands.iter().map(|command| of(command) + OVERHEAD).sum()
    }
}

/// The digests that recognise a repetition of a request.
#[derive(Clone, Copy)]
pub(super) struct KeyDigests {
    /// The digest written into the log.
    pub digest: RequestDigest,
    /// The digest that the first versions wrote, if it differs.
    pub legacy: Option<LegacyKey>,
}

/// The key digest of the first versions. For a client without a token it did not cover the body; for a user it covered
/// the name only.
#[derive(Clone, Copy)]
pub(super) struct LegacyKey {
    pub digest: RequestDigest,
    /// Registration of the user. Requests accepted earlier belong to an earlier user of the name.
    pub since: Timestamp,
    /// Whether another body under this key is the client's error. Without a token it may come from another client.
    pub is_unique_to_client: bool,
}

/// Digests keyed with the log's secret.
pub(super) struct RequestDigests(KeyedDigest);

impl RequestDigests {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(KeyedDigest::new(secret))
    }

    /// The digests that recognise a repetition of the request. Only the body distinguishes clients without a token: two
    /// of them may use the same key for different requests. Only the registration distinguishes a user from earlier
    /// users of the name.
    pub fn for_request(&self, request: &Request, idempotency: &Idempotency) -> KeyDigests {
        let body = self.0.of(&[b"body", &idempotency.body]);
        let count = request.commands.len() as u32;
        let older = RequestDigest { scope: self.scope(request, idempotency), body, count };
        let (scope, since, is_ones_own) = match &request.principal {
            None => (self.0.of(&[b"anonymous", &older.scope, &body]), Timestamp::default(), false),
            Some(Owner { registered_at: Some(at), .. }) => {
                (self.0.of(&[b"account", &older.scope, &at.0.to_le_bytes()]), *at, true)
            }
            Some(Owner { registered_at: None, .. }) => return KeyDigests { digest: older, legacy: None },
        };
        let digest = RequestDigest { scope, ..older };
        KeyDigests {
            digest,
            legacy: Some(LegacyKey { digest: older, since, is_unique_to_client: is_ones_own }),
        }
    }

    /// Digest of principal, key, and either the route or method and kind. All commands of a request have one kind. The
    /// inputs are fixed: existing logs hold these digests.
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

    /// Digest that identifies a record by its payload.
    pub fn record_digest(&self, payload: &[u8]) -> [u8; 16] {
        self.0.of(&[b"record", payload])
    }

    /// The scope of a claim in the index. It differs from every key's scope, because the inputs differ.
    pub fn claim_digest(&self, claim: &[u8; 16]) -> [u8; 16] {
        self.0.of(&[b"claim", claim])
    }
}

/// The result of a committed request.
pub(super) enum CommitOutcome {
    New(Receipt),
    /// An earlier request had the same key; its records begin at this LSN.
    Repeat(Lsn),
}
