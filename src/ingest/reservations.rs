//! Reads commands that hold reservations from the log.

use std::sync::Arc;

use super::Ingest;
use super::request::SubmitError;
use crate::command::{CommandId, Envelope, IdSeal};
use crate::wal::Lsn;

/// Maximum number of records read per call, even if few of them have a claim.
const MAX_SCANNED_RECORDS: usize = 10_000;

/// A command with a claim, as recorded in the log.
pub struct ClaimedCommand {
    /// Command id.
    pub id: CommandId,
    /// The owner that its reservations name.
    pub claim: [u8; 16],
    /// Keyed digest of the normalised body; only for registrations.
    pub fingerprint: Option<[u8; 16]>,
    /// Command value.
    pub value: zeroize::Zeroizing<Vec<u8>>,
}

impl Ingest {
    /// At most `limit` commands with a claim, in order, starting at `from`, and the LSN where the next call should
    /// start. The LSN equals `from` when no more records exist.
    pub async fn claimed_commands(
        &self,
        from: Lsn,
        limit: usize,
    ) -> Result<(Vec<ClaimedCommand>, Lsn), SubmitError> {
        let log = Arc::clone(&self.shared.log);
        let read = tokio::task::spawn_blocking(move || {
            let mut claims = Vec::new();
            let (mut cursor, mut next) = (log.cursor(from), from);
            for _ in 0..MAX_SCANNED_RECORDS {
                if claims.len() >= limit {
                    break;
                }
                let Some(frame) = cursor.next_retained().map_err(|_| SubmitError::IndexRebuilding)? else {
                    break;
                };
                next = frame.lsn.next();
                let Ok(envelope) = Envelope::decode(frame.payload) else { continue };
                if let Some(claim) = envelope.claim {
                    let value = zeroize::Zeroizing::new(envelope.value.to_vec());
                    let (id, fingerprint) = (envelope.id, envelope.fingerprint);
                    claims.push(ClaimedCommand { id, claim, fingerprint, value });
                }
            }
            Ok((claims, next))
        });
        read.await.map_err(|_| SubmitError::Closing)?
    }

    /// The log's secret, for digests that must not be guessable.
    pub fn secret(&self) -> &[u8; 32] {
        &self.shared.log.identity().secret
    }

    /// The seal on command ids. It distinguishes issued ids from invented ones.
    pub fn seal(&self) -> &IdSeal {
        &self.shared.seal
    }
}
