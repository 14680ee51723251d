//! The words the log speaks.

use std::path::PathBuf;
use std::{fmt, io};

use crate::units::{Lsn, Timestamp};

/// Who a log is: made at random with its directory, repeated in every segment header.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tells this log from every other one.
    pub log_id: [u8; 16],
    /// Key of the digests that stand in records and ids. Never shown.
    pub secret: [u8; 32],
    /// Tells this start from every other one.
    pub incarnation: [u8; 16],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

/// A record on its way in.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The lane it is ordered in; the log only keeps it.
    pub lane: u8,
    /// What it is counted as in its segment's footer (the command's kind).
    pub label: &'a str,
    /// The record, opaque to the log.
    pub payload: &'a [u8],
}

/// A record on its way out, borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// When it was accepted.
    pub at: Timestamp,
    /// Its lane.
    pub lane: u8,
    /// Bytes it takes in the log.
    pub bytes: u32,
    /// The record.
    pub payload: &'a [u8],
}

/// A record read on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub lsn: Lsn,
    /// When it was accepted.
    pub at: Timestamp,
    /// Its lane.
    pub lane: u8,
    /// The record.
    pub payload: Vec<u8>,
}

/// A record the broker will never take, on its way into the dead-letter store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number in the log.
    pub lsn: Lsn,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// How often it was sent.
    pub attempts: u32,
    /// The record, whole.
    pub payload: Vec<u8>,
}

/// A broker's confirmation of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The record.
    pub lsn: Lsn,
    /// Bytes it takes in the log (`RecordRef::bytes`).
    pub bytes: u32,
    /// Where Kafka put it; −1 where the broker was not asked to say (`acks = 0`).
    pub partition: i32,
    /// See `partition`.
    pub offset: i64,
    /// When the confirmation came.
    pub at: Timestamp,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Flushed, not yet confirmed.
    Waiting,
    /// Confirmed by the broker.
    Sent(Option<Confirmation>),
    /// In the dead-letter store.
    Dead {
        /// Why.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
    /// A dead letter an operator gave up.
    Dropped,
    /// A dead letter taken up again under another number.
    Requeued(Lsn),
    /// Not flushed yet, or no longer kept.
    Unknown,
}

/// The state of the backlog, exact at the moment of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacklogStats {
    /// Records accepted and neither confirmed nor dead.
    pub backlog: u64,
    /// Their bytes in the log.
    pub backlog_bytes: u64,
    /// Everything below is confirmed or dead.
    pub watermark: Lsn,
    /// The first number not flushed yet.
    pub end: Lsn,
    /// Dead letters in the store.
    pub dead: u64,
}

/// Why a record could not be read. Damage is not here: a cursor quarantines it, reports it and goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk did not answer. Never the end of the log.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Damage was found and could not be put into quarantine; until it can, nothing behind it is delivered.
    #[error("cannot quarantine damage in {path}: {source}")]
    Quarantine {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
