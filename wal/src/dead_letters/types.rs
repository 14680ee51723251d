//! What the store holds, as an operator sees it.

use serde::{Deserialize, Serialize};

use super::super::types::{DeadLetter, RecordState};
use crate::units::{Lsn, Timestamp};

/// The directory in the log's.
pub const DIR: &str = "dead";
/// The file in it.
pub const FILE: &str = "letters";
/// The file as findings name it: its path in the log's directory.
pub const RELATIVE_PATH: &str = "dead/letters";

/// A range of records that could not be read: a dead letter without its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRange {
    /// First record of the range.
    pub lsn_from: u64,
    /// Last record of the range.
    pub lsn_to: u64,
    /// File name of the segment.
    pub segment: String,
    /// What was found.
    pub reason: String,
    /// When.
    pub found_at: Timestamp,
}

/// What shows of a letter in an encrypted store whose key is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedLetter {
    /// The record's number in the log.
    pub lsn: Lsn,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// How often it was sent.
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
    /// A record the broker would not take.
    Letter(DeadLetter),
    /// The same, of which no more can be seen: only to who looks without the key.
    Sealed(SealedLetter),
    /// Records that could not be read.
    Damage(DamagedRange),
}

/// How a letter left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An operator gave it up.
    Dropped,
    /// It lies in the log again under this number.
    Requeued(Lsn),
}
