//! Requeues a dead letter: the same command under the same id, as a new record.

use super::{Envelope, lane};
use crate::units::Lsn;

/// Label of a record whose envelope cannot be decoded.
const UNREADABLE: &str = "unreadable";

/// A record built from a dead letter, to be appended to the log.
pub struct RequeuedRecord {
    /// Its lane: that of its key, as in the first record.
    pub lane: u8,
    /// The command's kind.
    pub label: String,
    /// The payload of the new record.
    pub payload: Vec<u8>,
    /// Owner id in the reservations of the command.
    pub claim: Option<[u8; 16]>,
    /// Whether the payload contains a password that is not hashed yet. It may be stored in an encrypted log only.
    pub sealed: bool,
}

/// Builds the record that sends the dead letter `from` again, to be appended as `lsn`.
///
/// It does not identify repetitions of the request; the first record does.
pub fn requeued_record(payload: &[u8], from: Lsn, lsn: Lsn) -> RequeuedRecord {
    match Envelope::decode(payload) {
        Ok(old) => {
            let again = Envelope { requeued_from: Some(from), idempotency: None, ..old };
            let mut bytes = Vec::new();
            again.encode(&mut bytes);
            let (lane, label) = (lane(again.key, lsn), again.kind.to_owned());
            RequeuedRecord { lane, label, payload: bytes, claim: again.claim, sealed: again.sealed }
        }
        // This version cannot decode it: keep the payload unchanged, so that a version that can will send it.
        Err(_) => {
            let (lane, label) = (lane(None, lsn), UNREADABLE.to_owned());
            RequeuedRecord { lane, label, payload: payload.to_vec(), claim: None, sealed: false }
        }
    }
}

/// The label of the record with this payload (`wal::Options::label`): the kind of its command.
pub fn kind_of(payload: &[u8]) -> Option<String> {
    Envelope::decode(payload).ok().map(|envelope| envelope.kind.to_owned())
}
