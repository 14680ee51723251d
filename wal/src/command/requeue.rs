//! A dead letter on its way back into the log: the same command under the same id, as a new record.

use super::{Envelope, lane};
use crate::units::Lsn;

/// What a record is counted as when its envelope cannot be read.
const UNREADABLE: &str = "unreadable";

/// A record to append, made from a dead letter.
pub struct RequeuedRecord {
    /// The lane it is ordered in: its key's, as before.
    pub lane: u8,
    /// The command's kind.
    pub label: String,
    /// The record.
    pub payload: Vec<u8>,
    /// What its pending markers name as their owner.
    pub claim: Option<[u8; 16]>,
    /// Whether a password in it waits to be hashed: it may only lie in an encrypted log.
    pub sealed: bool,
}

/// The record that takes up the dead letter `from` again, to be appended as `lsn`.
///
/// It no longer recognises repetitions of the request: the first record does.
pub fn requeued_record(payload: &[u8], from: Lsn, lsn: Lsn) -> RequeuedRecord {
    match Envelope::decode(payload) {
        Ok(old) => {
            let again = Envelope { requeued_from: Some(from), idempotency: None, ..old };
            let mut bytes = Vec::new();
            again.encode(&mut bytes);
            let (lane, label) = (lane(again.key, lsn), again.kind.to_owned());
            RequeuedRecord { lane, label, payload: bytes, claim: again.claim, sealed: again.sealed }
        }
        // Unreadable for this version: as it is, so that a version that reads it can send it.
        Err(_) => {
            let (lane, label) = (lane(None, lsn), UNREADABLE.to_owned());
            RequeuedRecord { lane, label, payload: payload.to_vec(), claim: None, sealed: false }
        }
    }
}

/// What the record with this payload is counted as (`wal::Options::label`): its command's kind.
pub fn kind_of(payload: &[u8]) -> Option<String> {
    Envelope::decode(payload).ok().map(|envelope| envelope.kind.to_owned())
}
