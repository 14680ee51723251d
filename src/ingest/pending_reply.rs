//! Replies that wait for the flush of their group.

use tokio::sync::oneshot;

use super::request::{CommitOutcome, Receipt, SubmitError};
use crate::wal::Lsn;

pub(super) type Reply = oneshot::Sender<Result<CommitOutcome, SubmitError>>;

/// A reply that is sent when the flush has returned.
pub(super) enum PendingReply {
    Receipt(Reply, Receipt),
    Repeat(Reply, Lsn),
    Requeued(oneshot::Sender<Result<Lsn, SubmitError>>, Lsn),
}

/// The result of an append; it becomes the reply after the flush.
pub(super) enum Appended {
    Receipt(Receipt),
    Repeat(Lsn),
}

impl Appended {
    pub(super) fn into_pending(self, reply: Reply) -> PendingReply {
        match self {
            Self::Receipt(receipt) => PendingReply::Receipt(reply, receipt),
            Self::Repeat(first) => PendingReply::Repeat(reply, first),
        }
    }
}

impl PendingReply {
    pub(super) fn send(self, flushed: bool) {
        // A client that no longer waits needs no reply.
        match (self, flushed) {
            (Self::Receipt(reply, receipt), true) => drop(reply.send(Ok(CommitOutcome::New(receipt)))),
            (Self::Repeat(reply, first), true) => drop(reply.send(Ok(CommitOutcome::Repeat(first)))),
            (Self::Requeued(reply, lsn), true) => drop(reply.send(Ok(lsn))),
            (Self::Receipt(reply, _) | Self::Repeat(reply, _), false) => {
                drop(reply.send(Err(SubmitError::Poisoned)))
            }
            (Self::Requeued(reply, _), false) => drop(reply.send(Err(SubmitError::Poisoned))),
        }
    }
}
