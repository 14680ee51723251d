//! The content of the store, as an operator sees it.

use serde::{Deserialize, Serialize};

use super::super::types::{DeadLetter, RecordState};
use crate::units::{Lsn, Timestamp};

/// Directory of the store inside the log's directory.
pub const DIR: &str = "dead";
/// File of the store in that directory.
pub const FILE: &str = "letters";
/// Path of the file inside the log's directory, as findings name it.
pub const RELATIVE_PATH: &str = "dead/letters";

/// A range of unreadable records: a dead letter without a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRange {
    /// First record of the range.
    pub lsn_from: u64,
    /// Last record of the range.
    pub lsn_to: u64,
    /// File name of the segment.
    pub segment: String,
    /// Description of the damage.
    pub reason: String,
    /// Time at which it was found.
    pub found_at: Timestamp,
}

/// The unencrypted fields of a dead letter, in an encrypted store whose key is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedLetter {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Time at which it was accepted.
    pub accepted_at: Timestamp,
    /// Time at which it was stored as a dead letter.
    pub died_at: Timestamp,
    /// Number of delivery attempts.
    pub attempts: u32,
}

impl SealedLetter {
    pub(crate) fn record_state(&self) -> RecordState {
        RecordState::Dead { reason: "encrypted".to_owned(), at: self.died_at }
    }
}

/// An entry of the store as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadEntry {
    /// A record that the broker rejected.
    Letter(DeadLetter),
    /// An encrypted dead letter, read without the key.
    Sealed(SealedLetter),
    /// Records that could not be read.
    Damage(DamagedRange),
}

/// How a dead letter was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An operator dropped it.
    Dropped,
    /// It was appended to the log again under this LSN.
    Requeued(Lsn),
}
