//! What the log reports while it works, and what it finds. The log knows neither metrics nor log lines.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::units::Lsn;

/// Something worth knowing happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A group was written and flushed.
    Flushed {
        /// Records in it.
        records: u64,
        /// Bytes in it.
        bytes: u64,
        /// How long the flush took.
        flush: Duration,
    },
    /// A segment was sealed and the next one begun.
    Rotated {
        /// First LSN of the sealed one.
        first: Lsn,
        /// Records in it.
        records: u64,
    },
    /// The next segment cannot be filled: the disk is full, or does not answer.
    OutOfSpace {
        /// What is missing.
        reason: String,
    },
    /// A delivered segment went before its time to make room.
    RetentionShortened {
        /// Its first LSN.
        first: Lsn,
    },
    /// Bytes that were promised are not what was written. They lie in quarantine, as a dead letter.
    Damaged(Finding),
    /// The first failure on the durable path: the log takes nothing more.
    Poisoned {
        /// What failed.
        cause: String,
    },
    /// The disk takes no notes of where records were put, and more wait in memory than may: the oldest are gone.
    PositionsDropped {
        /// How many.
        notes: usize,
    },
    /// Something failed that costs no record (a note, a retired file); it is tried again.
    TransientError {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: String,
    },
}

/// Who listens. Called from the log's own threads: it must return quickly.
pub type Observer = std::sync::Arc<dyn Fn(&Event) + Send + Sync>;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Bytes at the end that were never promised: a write the crash interrupted. Cut, and kept aside.
    TornTail,
    /// Bytes that were promised are not what was written.
    Damaged,
    /// A segment that should be there is not.
    Missing,
    /// The checkpoint is missing or spoilt.
    Checkpoint,
    /// A segment of another log.
    Foreign,
    /// A file that is not ours; left alone.
    Unknown,
    /// A file of ours that belongs to nothing any more.
    Leftover,
    /// A segment that does not belong into the directory it lies in.
    Misplaced,
}

impl fmt::Display for FindingKind {
    /// The word that it has in JSON too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The segment's file name, or another file's.
    pub segment: String,
    /// Byte in it.
    pub offset: u64,
    /// What it is.
    pub kind: FindingKind,
    /// In words.
    pub detail: String,
}
