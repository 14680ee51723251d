//! A dead letter on its way back into the log: the same command under the same id, as a new record.

use super::Envelope;
use super::lane;
use crate::units::Lsn;

/// What a record is counted as when its envelope cannot be read.
const UNREADABLE: &str = "unreadable";

/// A record to append, made from a dead letter.
pub struct Requeued {
    /// The lane it is ordered in: its key's, as before.
    pub lane: u8,
    /// The command's kind.
    pub label: String,
    /// The record.
    pub payload: Vec<u8>,
}

/// The record that takes up the dead letter `from` again, to be appended as `lsn`.
///
/// It no longer recognises repetitions of the request: the first record does.
pub fn requeued(payload: &[u8], from: Lsn, lsn: Lsn) -> Requeued {
    match Envelope::decode(payload) {
        Ok(old) => {
            let again = Envelope { requeued_from: Some(from), repeat: None, ..old };
            let mut bytes = Vec::new();
            again.encode(&mut bytes);
            Requeued { lane: lane(again.key, lsn), label: again.kind.to_owned(), payload: bytes }
        }
        // Unreadable for this version: as it is, so that a version that reads it can send it.
        Err(_) => Requeued { lane: lane(None, lsn), label: UNREADABLE.to_owned(), payload: payload.to_vec() },
    }
}

/// What the record with this payload is counted as (`wal::Options::label`): its command's kind.
pub fn kind_of(payload: &[u8]) -> Option<String> {
    Envelope::decode(payload).ok().map(|envelope| envelope.kind.to_owned())
}
