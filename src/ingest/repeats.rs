//! Requests whose `Idempotency-Key` was used before: found by the index, answered from the log.

use std::sync::Arc;

use super::index::IndexLookup;
use super::request::{Idempotency, KeyDigests, OlderKey, Receipt, Request, SubmitError};
use super::shared::Shared;
use crate::command::{Envelope, RequestDigest};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// Above this a body is digested on a thread that may block: 64 KiB take about 50 µs.
const DIGEST_ON_RUNTIME: usize = 64 << 10;

/// The earlier request with the same key.
pub(super) enum Earlier {
    /// It had the same body, and was answered with this.
    Receipt(Receipt),
    /// There is none below `since`.
    None { since: Lsn },
}

/// What the log has under a key.
enum Found {
    Receipt(Receipt),
    /// A request with another body.
    OtherBody {
        accepted_at: Timestamp,
    },
    None {
        since: Lsn,
    },
}

impl Found {
    fn earlier(self) -> Result<Earlier, SubmitError> {
        match self {
            Self::Receipt(receipt) => Ok(Earlier::Receipt(receipt)),
            Self::OtherBody { .. } => Err(SubmitError::KeyConflict),
            Self::None { since } => Ok(Earlier::None { since }),
        }
    }

    /// Whether it is an earlier request of this one's sender, found by what the first versions wrote.
    fn is_senders(&self, older: &OlderKey) -> bool {
        match self {
            Self::Receipt(receipt) => receipt.accepted_at >= older.since,
            Self::OtherBody { accepted_at } => older.is_ones_own && *accepted_at >= older.since,
            Self::None { .. } => false,
        }
    }
}

impl Shared {
    pub(super) async fn digest(
        self: &Arc<Self>,
        request: &Request,
        idempotency: &Idempotency,
    ) -> Result<KeyDigests, SubmitError> {
        if idempotency.body.len() <= DIGEST_ON_RUNTIME {
            return Ok(self.digests.of(request, idempotency));
        }
        let (shared, request, idempotency) = (Arc::clone(self), request.clone(), idempotency.clone());
        let digest = tokio::task::spawn_blocking(move || shared.digests.of(&request, &idempotency));
        digest.await.map_err(|_| SubmitError::Closing)
    }

    /// The earlier request with this key. A new key costs no thread and no read.
    pub(super) async fn earlier(self: &Arc<Self>, digests: &KeyDigests) -> Result<Earlier, SubmitError> {
        let found = self.look_up(digests.repeat).await?;
        if let (Found::None { .. }, Some(older)) = (&found, &digests.older) {
            let by_older = self.look_up(older.repeat).await?;
            if by_older.is_senders(older) {
                return by_older.earlier();
            }
        }
        found.earlier()
    }

    async fn look_up(self: &Arc<Self>, repeat: RequestDigest) -> Result<Found, SubmitError> {
        let unused = self.index.unused(&repeat.scope);
        if let Some(since) = unused.map_err(|_| SubmitError::IndexRebuilding)? {
            return Ok(Found::None { since });
        }
        let shared = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || shared.earlier_blocking(&repeat));
        found.await.map_err(|_| SubmitError::Closing)?
    }

    /// The receipt of the request whose records begin here, which the index found for this key.
    pub(super) async fn receipt(
        self: &Arc<Self>,
        first: Lsn,
        repeat: RequestDigest,
    ) -> Result<Receipt, SubmitError> {
        let shared = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || shared.receipt_at(first, &repeat));
        match read.await.map_err(|_| SubmitError::Closing)??.earlier()? {
            Earlier::Receipt(receipt) => Ok(receipt),
            // Retention took it between the look-up and here, or it is damaged: the next try finds it unused.
            Earlier::None { .. } => Err(SubmitError::IndexRebuilding),
        }
    }

    /// Blocks.
    fn earlier_blocking(&self, repeat: &RequestDigest) -> Result<Found, SubmitError> {
        let found = self.index.find(&repeat.scope, Lsn(0)).map_err(|_| SubmitError::IndexRebuilding)?;
        match found {
            IndexLookup::Unused { since } => Ok(Found::None { since }),
            IndexLookup::Found(first) => self.receipt_at(first, repeat),
        }
    }

    /// The receipt of the request whose records begin here, checked against the first of them; none if that is not
    /// kept, or damaged. Blocks.
    fn receipt_at(&self, first: Lsn, repeat: &RequestDigest) -> Result<Found, SubmitError> {
        let mut receipt = Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: true };
        let mut cursor = self.log.cursor(first);
        let mut count = 1;
        for n in 0.. {
            if n == count {
                break;
            }
            let frame = cursor.next_retained().map_err(|_| SubmitError::IndexRebuilding)?;
            let here = frame.filter(|frame| frame.lsn == first.plus(n.into()));
            let Some(frame) = here else {
                // A batch of which a part is damaged: its ids are not known.
                return if n == 0 {
                    Ok(Found::None { since: first.next() })
                } else {
                    Err(SubmitError::IndexRebuilding)
                };
            };
            let envelope = Envelope::decode(frame.payload).ok();
            if n == 0 {
                match self.count(envelope.as_ref(), first, repeat)? {
                    Some(of_this) => count = of_this,
                    None => return Ok(Found::OtherBody { accepted_at: frame.at }),
                }
            }
            receipt.ids.push(envelope.ok_or(SubmitError::IndexRebuilding)?.id);
            receipt.accepted_at = frame.at;
        }
        Ok(Found::Receipt(receipt))
    }

    /// How many records the request has whose first one this is; none where its body is another one.
    fn count(
        &self,
        envelope: Option<&Envelope<'_>>,
        first: Lsn,
        repeat: &RequestDigest,
    ) -> Result<Option<u32>, SubmitError> {
        match envelope.and_then(|envelope| envelope.idempotency).filter(|found| found.scope == repeat.scope) {
            Some(found) if found.body == repeat.body => Ok(Some(found.count)),
            Some(_) => Ok(None),
            None => {
                self.index.report_mismatch(&repeat.scope, first);
                Err(SubmitError::IndexRebuilding)
            }
        }
    }
}
