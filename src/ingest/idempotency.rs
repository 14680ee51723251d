//! Recognises requests whose `Idempotency-Key` was used before: found in the index, answered from the log.

use std::sync::Arc;

use super::index::IndexLookup;
use super::request::{Idempotency, KeyDigests, LegacyKey, Receipt, Request, SubmitError};
use super::shared::Shared;
use crate::command::{Envelope, RequestDigest};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// Larger bodies are digested on a blocking thread: 64 KiB take about 50 µs.
const DIGEST_ON_RUNTIME: usize = 64 << 10;

/// The earlier request with the same key.
pub(super) enum EarlierRequest {
    /// It had the same body and got this receipt.
    Receipt(Receipt),
    /// No earlier request exists below `since`.
    None { since: Lsn },
}

/// What the log contains under a key.
enum LoggedRequest {
    Receipt(Receipt),
    /// A request with another body.
    OtherBody {
        accepted_at: Timestamp,
    },
    None {
        since: Lsn,
    },
}

impl LoggedRequest {
    fn into_earlier(self) -> Result<EarlierRequest, SubmitError> {
        match self {
            Self::Receipt(receipt) => Ok(EarlierRequest::Receipt(receipt)),
            Self::OtherBody { .. } => Err(SubmitError::KeyConflict),
            Self::None { since } => Ok(EarlierRequest::None { since }),
        }
    }

    /// Whether this is an earlier request of the same sender, found by the digest of the first versions.
    fn is_from_sender(&self, older: &LegacyKey) -> bool {
        match self {
            Self::Receipt(receipt) => receipt.accepted_at >= older.since,
            Self::OtherBody { accepted_at } => older.is_unique_to_client && *accepted_at >= older.since,
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
            return Ok(self.digests.for_request(request, idempotency));
        }
        let (shared, request, idempotency) = (Arc::clone(self), request.clone(), idempotency.clone());
        let digest = tokio::task::spawn_blocking(move || shared.digests.for_request(&request, &idempotency));
        digest.await.map_err(|_| SubmitError::Closing)
    }

    /// The earlier request with this key. A new key costs neither a thread nor a disk read.
    pub(super) async fn earlier(
        self: &Arc<Self>,
        digests: &KeyDigests,
    ) -> Result<EarlierRequest, SubmitError> {
        let found = self.look_up(digests.digest).await?;
        if let (LoggedRequest::None { .. }, Some(older)) = (&found, &digests.legacy) {
            let by_older = self.look_up(older.digest).await?;
            if by_older.is_from_sender(older) {
                return by_older.into_earlier();
            }
        }
        found.into_earlier()
    }

    async fn look_up(self: &Arc<Self>, digest: RequestDigest) -> Result<LoggedRequest, SubmitError> {
        let unused = self.index.unused(&digest.scope);
        if let Some(since) = unused.map_err(|_| SubmitError::IndexRebuilding)? {
            return Ok(LoggedRequest::None { since });
        }
        let shared = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || shared.earlier_blocking(&digest));
        found.await.map_err(|_| SubmitError::Closing)?
    }

    /// The receipt of the request whose records begin at this LSN. The index found the LSN for this key.
    pub(super) async fn receipt(
        self: &Arc<Self>,
        first: Lsn,
        digest: RequestDigest,
    ) -> Result<Receipt, SubmitError> {
        let shared = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || shared.read_receipt(first, &digest));
        match read.await.map_err(|_| SubmitError::Closing)??.into_earlier()? {
            EarlierRequest::Receipt(receipt) => Ok(receipt),
            // Retention deleted it after the look-up, or it is damaged: a retry finds the key unused.
            EarlierRequest::None { .. } => Err(SubmitError::IndexRebuilding),
        }
    }

    /// Reads the index and the log for the key. Blocks.
    fn earlier_blocking(&self, digest: &RequestDigest) -> Result<LoggedRequest, SubmitError> {
        let found = self.index.find(&digest.scope, Lsn(0)).map_err(|_| SubmitError::IndexRebuilding)?;
        match found {
            IndexLookup::Unused { since } => Ok(LoggedRequest::None { since }),
            IndexLookup::Found(first) => self.read_receipt(first, digest),
        }
    }

    /// The receipt of the request whose records begin at `first`, checked against the first record. `None` if the
    /// record is expired or damaged. Blocks.
    fn read_receipt(&self, first: Lsn, digest: &RequestDigest) -> Result<LoggedRequest, SubmitError> {
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
                // Part of the batch is damaged: its ids are not known.
                return if n == 0 {
                    Ok(LoggedRequest::None { since: first.next() })
                } else {
                    Err(SubmitError::IndexRebuilding)
                };
            };
            let envelope = Envelope::decode(frame.payload).ok();
            if n == 0 {
                match self.record_count(envelope.as_ref(), first, digest)? {
                    Some(of_this) => count = of_this,
                    None => return Ok(LoggedRequest::OtherBody { accepted_at: frame.at }),
                }
            }
            receipt.ids.push(envelope.ok_or(SubmitError::IndexRebuilding)?.id);
            receipt.accepted_at = frame.at;
        }
        Ok(LoggedRequest::Receipt(receipt))
    }

    /// How many records the request that begins with this record has; `None` if its body is another one.
    fn record_count(
        &self,
        envelope: Option<&Envelope<'_>>,
        first: Lsn,
        digest: &RequestDigest,
    ) -> Result<Option<u32>, SubmitError> {
        match envelope.and_then(|envelope| envelope.idempotency).filter(|found| found.scope == digest.scope) {
            Some(found) if found.body == digest.body => Ok(Some(found.count)),
            Some(_) => Ok(None),
            None => {
                self.index.report_mismatch(&digest.scope, first);
                Err(SubmitError::IndexRebuilding)
            }
        }
    }
}
