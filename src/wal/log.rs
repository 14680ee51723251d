//! The log as everyone but its writer sees it. (Bodies follow.)
#![allow(unused_variables, clippy::todo, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use super::types::*;
use crate::units::Timestamp;

/// One log, opened. Shared by readers, the drain and the status look-up; the `Writer` is not here.
pub struct Log {}

/// A broker's confirmation of one record.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation {
    pub lsn: Lsn,
    pub partition: i32,
    pub offset: i64,
    pub at: Timestamp,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Flushed, not yet confirmed.
    Waiting,
    /// Confirmed. The place is unknown (-1) when its note was lost.
    Sent { partition: i32, offset: i64, at: Option<Timestamp> },
    /// In the dead-letter store.
    Dead { reason: String, at: Timestamp },
    /// A dead letter taken up again under another number.
    Requeued(Lsn),
    /// Not flushed yet, or no longer kept.
    Unknown,
}

/// The state of the backlog, exact at the moment of the call.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Records accepted and neither confirmed nor dead.
    pub backlog: u64,
    /// Their bytes in the log.
    pub backlog_bytes: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Everything below is confirmed or dead.
    pub watermark: Lsn,
    /// Dead letters in the store.
    pub dead: u64,
}

/// Why a record could not be read. Damage is not here: a cursor quarantines it, reports it and goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk did not answer. Never the end of the log; try again later.
    #[error("cannot read {path}: {source}")]
    Io { path: std::path::PathBuf, source: std::io::Error },
    /// The log is poisoned.
    #[error("the log is poisoned: {0}")]
    Poisoned(String),
}

impl Log {
    /// Who this log is.
    pub fn identity(&self) -> &Identity {
        todo!()
    }

    /// The first number not flushed yet: everything below is on stable storage.
    pub fn end(&self) -> Lsn {
        todo!()
    }

    /// Blocks until `end() > lsn`, `wake_readers` is called or `timeout` is over; says whether `end() > lsn`.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        todo!()
    }

    /// Ends every `wait_for` now.
    pub fn wake_readers(&self) {
        todo!()
    }

    /// Everything below is confirmed or dead.
    pub fn watermark(&self) -> Lsn {
        todo!()
    }

    /// Whether this record is confirmed, dead or otherwise over.
    pub fn is_done(&self, lsn: Lsn) -> bool {
        todo!()
    }

    /// A reader of flushed records from `from` on (or from the oldest kept one).
    pub fn cursor(self: &Arc<Self>, from: Lsn) -> Cursor {
        todo!()
    }

    /// One flushed record; `None` when it is not flushed yet or no longer kept.
    pub fn read(&self, lsn: Lsn) -> Result<Option<Record>, ReadError> {
        todo!()
    }

    /// Notes where the broker put these records and counts them as done. Not durable before the next checkpoint:
    /// a crash costs a repeat.
    pub fn confirm(&self, confirmations: &[Confirmation]) {
        todo!()
    }

    /// Stores these records as dead letters, durably, and then counts them as done. On an error none of them is:
    /// they stay in the log and hold their lane.
    pub fn bury(&self, letters: &[Letter]) -> Result<(), std::io::Error> {
        todo!()
    }

    /// What became of a record.
    pub fn fate(&self, lsn: Lsn) -> Result<Fate, ReadError> {
        todo!()
    }

    /// The state of the backlog.
    pub fn figures(&self) -> Figures {
        todo!()
    }

    /// Why the log takes nothing more, if so.
    pub fn poisoned(&self) -> Option<String> {
        todo!()
    }
}

/// Reads flushed records in order. Each worker has one of its own.
pub struct Cursor {}

impl Cursor {
    /// The next record for which `wanted(lsn, lane)` holds; `None` when all flushed records were looked at.
    /// Records that are done are passed over.
    pub fn next(&mut self, wanted: impl Fn(Lsn, u8) -> bool) -> Result<Option<Frame<'_>>, ReadError> {
        todo!()
    }

    /// The number the next call looks at first.
    pub fn position(&self) -> Lsn {
        todo!()
    }
}
