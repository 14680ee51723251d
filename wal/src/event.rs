//! Events that the log reports, and findings of a check. The log itself knows neither metrics nor log lines.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::units::Lsn;

/// An event of the log.
#[derive(Clone, Debug)]
pub enum Event {
    /// A group was written and flushed.
    Flushed {
        /// Number of records.
        records: u64,
        /// Number of bytes.
        bytes: u64,
        /// Duration of the flush.
        flush: Duration,
    },
    /// A segment was sealed and the next one was opened.
    Rotated {
        /// First LSN of the sealed segment.
        first: Lsn,
        /// Number of records in it.
        records: u64,
    },
    /// The next segment cannot be preallocated: the disk is full, or does not respond.
    OutOfSpace {
        /// Description of the shortage.
        reason: String,
    },
    /// A delivered segment was deleted before it expired, to free space.
    RetentionShortened {
        /// First LSN of the segment.
        first: Lsn,
    },
    /// Bytes below a durable offset are damaged. They were copied to quarantine and listed as a dead letter.
    Damaged(Finding),
    /// The first failure on the durable path. The log accepts no more records.
    Poisoned {
        /// Description of the failure.
        cause: String,
    },
    /// The disk rejects delivery positions, and too many were pending in memory: the oldest ones were dropped.
    PositionsDropped {
        /// Number of dropped positions.
        count: usize,
    },
    /// A failure that loses no record, such as one of the delivery index or of a retired file. It is tried again.
    TransientError {
        /// The operation that failed.
        what: &'static str,
        /// Error of the operating system.
        error: String,
    },
}

/// Receives events. It is called from the log's own threads and must return quickly.
pub type Observer = std::sync::Arc<dyn Fn(&Event) + Send + Sync>;

/// Kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A torn tail: bytes at the end, above every durable offset, from a write that a crash interrupted. Cut after a
    /// copy.
    TornTail,
    /// Bytes below a durable offset are damaged.
    Damaged,
    /// A segment is missing.
    Missing,
    /// The checkpoint is missing or damaged.
    Checkpoint,
    /// A segment of another log.
    Foreign,
    /// An unknown file, left unchanged.
    Unknown,
    /// A file of forebay that is no longer needed.
    Leftover,
    /// A segment in the wrong directory.
    Misplaced,
}

impl fmt::Display for FindingKind {
    /// The name, as in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One problem, and its location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the segment file, or of another file.
    pub segment: String,
    /// Offset in that file.
    pub offset: u64,
    /// Kind of the problem.
    pub kind: FindingKind,
    /// Description of the problem.
    pub detail: String,
}
