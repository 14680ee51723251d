//! Data types of the log's interface.

use std::path::PathBuf;
use std::{fmt, io};

use crate::units::{Lsn, Timestamp};

/// Identity of a log: random, created with its directory, repeated in every segment header.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Identifies the log.
    pub log_id: [u8; 16],
    /// Key of the digests in records and ids. Never printed.
    pub secret: [u8; 32],
    /// Identifies the start.
    pub incarnation: [u8; 16],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

/// A record to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Lane of the record. The log only stores it.
    pub lane: u8,
    /// Label under which it is counted in its segment's footer (the command's kind).
    pub label: &'a str,
    /// The payload, opaque to the log.
    pub payload: &'a [u8],
}

/// A record that was read, borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Time of acceptance.
    pub at: Timestamp,
    /// Lane of the record.
    pub lane: u8,
    /// Bytes of its frame in the log.
    pub bytes: u32,
    /// The payload.
    pub payload: &'a [u8],
}

/// A record that was read, with its own payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Time of acceptance.
    pub at: Timestamp,
    /// Lane of the record.
    pub lane: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A record that the broker will never accept, for the dead-letter store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Time of acceptance.
    pub accepted_at: Timestamp,
    /// Time at which it became a dead letter.
    pub died_at: Timestamp,
    /// Reason of the failure.
    pub reason: String,
    /// Number of delivery attempts.
    pub attempts: u32,
    /// The complete payload.
    pub payload: Vec<u8>,
}

/// A broker's confirmation of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Bytes of its frame in the log (`RecordRef::bytes`).
    pub bytes: u32,
    /// Partition in Kafka; −1 if the broker does not report it (`acks = 0`).
    pub partition: i32,
    /// Offset in Kafka; −1 if the broker does not report it.
    pub offset: i64,
    /// Time at which the confirmation arrived.
    pub at: Timestamp,
}

/// State of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Flushed, and not delivered yet.
    Accepted,
    /// Confirmed by the broker, with its Kafka position if it is known.
    Sent(Option<Confirmation>),
    /// In the dead-letter store.
    Dead {
        /// Why it is a dead letter.
        reason: String,
        /// Since when it is one.
        at: Timestamp,
    },
    /// A dead letter that an operator dropped.
    Dropped,
    /// A dead letter that was requeued under this LSN.
    Requeued(Lsn),
    /// Not flushed yet, or no longer retained.
    Unknown,
}

/// Statistics of the backlog, exact at the moment of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacklogStats {
    /// Number of records that are neither delivered nor dead letters.
    pub backlog: u64,
    /// Bytes of these records in the log.
    pub backlog_bytes: u64,
    /// All records below it are delivered or dead letters.
    pub watermark: Lsn,
    /// The first number that is not flushed yet.
    pub end: Lsn,
    /// Number of dead letters in the store.
    pub dead: u64,
}

/// Why a record could not be read. Damage is no error: a cursor quarantines it, reports it, and continues after it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An I/O error. Never the end of the log.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Damage was found and could not be copied to quarantine. Nothing after it is delivered until that succeeds.
    #[error("cannot quarantine damage in {path}: {source}")]
    Quarantine {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}
