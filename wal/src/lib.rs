//! A write-ahead log for commands: guarantees, files, operations, recovery.
//!
//! The crate also contains the format of the commands in the log ([`command`]), the daemon's control socket
//! ([`control`]), and modules shared with the other crates ([`units`], [`secret_file`], [`sync`], [`failpoint`]).
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use forebay_wal::units::Timestamp;
//! use forebay_wal::{Confirmation, Keys, Lsn, NewRecord, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let home = tempfile::tempdir()?;
//! let options = Options {
//!     segment_size: 1 << 20,
//!     reserve_space: 0,
//!     redeliver: false,
//!     keys: Keys::default(),
//!     label: |_payload| Some("note".to_owned()),
//!     observer: Arc::new(|event| println!("{event:?}")),
//! };
//! let now = Timestamp::now();
//! let (_lock, opened) = forebay_wal::open_locked(&home.path().join("wal"), &options, now)?;
//! let (mut writer, log) = (opened.writer, opened.log);
//!
//! // One batch: it is durable when `commit` returns.
//! let batch = [b"first", b"other"].map(|payload| NewRecord { lane: 7, label: "note", payload });
//! let lsns = writer.append(&batch, now)?;
//! writer.commit()?;
//!
//! // A cursor reads the records that are not done.
//! let mut cursor = log.cursor(Lsn(0));
//! let frame = cursor.next(|_lsn, _lane| true)?.ok_or("no record")?;
//! assert_eq!((frame.lsn, frame.payload), (lsns.start, &b"first"[..]));
//!
//! // A confirmed record is done. The next checkpoint makes that durable.
//! let (lsn, bytes) = (frame.lsn, frame.bytes);
//! log.confirm(&[Confirmation { lsn, bytes, partition: 0, offset: 42, at: now }]);
//! log.checkpoint(now)?;
//! assert_eq!((log.watermark(), log.backlog_stats().backlog), (lsn.next(), 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! 1. After [`Writer::commit`] has returned without an error, the batches are on stable storage: bytes, file size,
//!    segment header and directory entry.
//! 2. After a crash, a batch ([`Writer::append`]) exists completely or not at all.
//! 3. The first failed write, flush, rename or directory flush of [`Writer`] is final ([`Poisoned`]): the log accepts
//!    nothing more.
//! 4. A record leaves `pending/` only after [`Log::confirm`] or [`Log::store_dead_letters`], and only after a durable
//!    checkpoint marks it as done.
//! 5. A read error is never treated as the end of the log. Sectors that stay unreadable after a retry are damage
//!    (`salvage.rs`); other read errors stay errors. Damage is copied to quarantine, listed as a dead letter and
//!    reported. All readable records around it are delivered.
//! 6. Only one process at a time writes to a log ([`Lock`]).
//!
//! A record that was appended and not acknowledged may or may not exist after a crash.
//!
//! # Files
//!
//! `docs/wal-format.md` describes every file byte by byte, and `tests/format/read` is a reader that was written from
//! that page. `docs/encryption.md` lists what an encrypted log reveals without its key.
//!
//! # Operations
//!
//! *Commit*: the writer calls `pwrite` once and `fdatasync` once for all appended batches. Then it moves the end of the
//! log ([`Log::end`]), and readers see the batches. Only one thread writes, so the bytes of a flush are fixed before it
//! begins.
//!
//! *Rotation*: append the footer, flush, truncate, and flush the old segment. Then write the header into the
//! preallocated segment (`spare`), flush it, rename it into `pending/`, flush the directory, and publish the segment.
//!
//! *Checkpoint*: write `checkpoint.tmp`, flush it, rename it, flush the directory. It contains the watermark (all
//! records below are done), how much of the log was flushed, and the state of transactions (`transactions.rs`). For
//! each segment above the watermark that is partly done, it contains one bit per record. Losing the checkpoint causes
//! duplicate deliveries, never lost records.
//!
//! *Retirement*: a sealed segment moves to `acked/` when a durable checkpoint marks all its records as done. It is
//! deleted there, oldest first, when it is old enough, when `acked/` is too large, or when new records need the space.
//! If it has a key, the key is destroyed first.
//!
//! # What a crash can leave
//!
//! | found at start | action |
//! |---|---|
//! | `spare`, `*.tmp` | removed, or overwritten |
//! | a segment with a destroyed key | removed: it was being deleted |
//! | the last segment without a footer | read to its end and sealed; a new one begins |
//! | frames after the last complete batch, or invalid bytes above every durable offset | torn tail: copied, cut |
//! | invalid bytes below a durable offset | damage: copied, listed as a dead letter; reading continues after it |
//! | unreadable bytes of the next frame | damage, at any offset |
//! | zeros below a durable offset | the log is older than its checkpoint: the start fails |
//! | a segment that is missing and not known to be delivered | listed as a dead letter |
//! | a segment in `acked/` with records that the checkpoint does not mark as done | moved back to `pending/` |
//!
//! [`tail_class::classify_tail`] decides the rows about the end of the last segment: torn tail, damage, unreadable
//! bytes, zeros. Each of its cases has a test. `directory_scan.rs`, `undelivered.rs` and `adopt.rs` implement the other
//! rows. The surviving records of the last segment are *rewritten* before it is sealed. A flush without a new write
//! would prove nothing: after a failed flush, Linux marks pages as clean that never reached the disk. The log never
//! appends to a segment of an earlier run. A *run* is the time from one start to the next; its random id is the
//! *incarnation*.

// These macros panic if the output is closed or its disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod ack_tracker;
mod adopt;
mod byte_array;
pub mod checkpoint;
pub mod command;
mod completion;
pub mod control;
mod cursor;
mod damage;
pub mod dead_letters;
mod delivery_index;
mod directory_scan;
mod durable_end;
mod encryption;
pub mod event;
pub mod failpoint;
#[cfg(feature = "planted-faults")]
pub mod faulty_fs;
mod footer;
mod frame;
pub mod fs;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod inspect;
mod key_check;
pub mod layout;
mod lock;
mod log;
mod maintenance;
#[cfg(any(test, feature = "testing"))]
pub mod memory_fs;
mod open_error;
mod options;
mod preallocated_segment;
mod quarantine;
mod recent_blocks;
mod recovery;
pub mod rekey;
pub mod repair;
mod salvage;
mod scanner;
pub mod secret_file;
mod segment;
mod segment_header;
pub mod sync;
pub mod tail_class;
mod tail_recovery;
mod takeover;
mod transactions;
mod types;
mod undelivered;
pub mod units;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::units::Lsn;
pub use cursor::Cursor;
pub use encryption::{KeyFileError, KeyId, Keys, MasterKey};
pub use event::{Event, Finding, FindingKind, Observer};
pub use lock::{Lock, LockError};
pub use log::Log;
pub use maintenance::Retention;
pub use open_error::OpenError;
pub use options::Options;
pub use preallocated_segment::SegmentUnavailable;
pub use recovery::{OpenedLog, RecoveryReport, open, open_locked};
pub use segment::{Segment, SegmentLocation};
pub use transactions::{Epoch, Transactions};
pub use types::{
    BacklogStats, Confirmation, DeadLetter, Identity, NewRecord, ReadError, Record, RecordRef, RecordState,
};
pub use writer::{AppendError, Poisoned, Writer};

/// `N` bytes from the system's random generator.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    #[cfg(test)]
    if tests::simulated_random(&mut bytes) {
        return Ok(bytes);
    }
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(format!("no random numbers: {e}")))?;
    Ok(bytes)
}
