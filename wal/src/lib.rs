//! The log of commands: what it promises, and what it does when.
//!
//! The crate also has the format of the commands in the log ([`command`]), the daemon's control socket ([`control`]),
//! and what the other crates share ([`units`], [`secret_file`], [`sync`], [`failpoint`]).
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use forebay_wal::units::Timestamp;
//! use forebay_wal::{Confirmation, Entry, Keys, Lsn, Options};
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
//! let batch = [b"first", b"other"].map(|payload| Entry { lane: 7, label: "note", payload });
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
//! assert_eq!((log.watermark(), log.figures().backlog), (lsn.next(), 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! 1. What [`Writer::commit`] returned for is on stable storage: bytes, file size, segment header and directory entry.
//! 2. A batch ([`Writer::append`]) is there whole after a crash, or not at all.
//! 3. The first failure to write, flush, rename or flush a directory on that path is final ([`Poisoned`]).
//! 4. A record leaves `pending/` only after [`Log::confirm`] or [`Log::bury`], and never before a checkpoint that says
//!    so is durable.
//! 5. A read error is never an end. Sectors that stay unreadable after a retry are damage (`salvage.rs`); other read
//!    errors stay errors. Damage is set aside, listed as a dead letter and reported; everything
//!    readable around it is delivered.
//! 6. A log is written by one process at a time ([`Lock`]).
//!
//! A record that was appended and never acknowledged ("maybe") may or may not be there after a crash.
//!
//! # Files
//!
//! `docs/wal-format.md` describes every file to the byte, and `tests/format/read` is a reader that was written from
//! that page. `docs/encryption.md` says what an encrypted log shows without its key.
//!
//! # What happens when
//!
//! *Commit*: one `pwrite`, one `fdatasync`; then the end moves and readers see the batch. The bytes a flush covers are
//! fixed before it begins; there is one writing thread, so nothing else can be among them.
//!
//! *Rotation*: footer, flush, cut, flush of the old segment → header into the spare file → flush → rename into
//! `pending/` → flush of the directory → publish.
//!
//! *Checkpoint*: `checkpoint.tmp` → flush → rename → flush of the directory. It holds a watermark (everything below is
//! done), what was flushed, and a bit a record for the segments above the watermark that are neither untouched nor
//! finished, and what is remembered of transactions (`transactions.rs`). Losing it costs repeats, never records.
//!
//! *Retirement*: a sealed segment that a durable checkpoint calls done moves to `acked/`, and leaves it, oldest first,
//! when it is old enough, there are too many, or acceptance needs the room; its key goes first, where it has one.
//!
//! # What a crash can leave
//!
//! | found at start | made of it |
//! |---|---|
//! | `preallocated_segment`, `*.tmp` | removed, or overwritten |
//! | a segment with a destroyed key | removed: it was being deleted |
//! | the last segment without a footer | read to its end and sealed; a new one begins |
//! | frames behind the last whole batch, or bytes that are no frame, below no promise | torn tail: copied to `quarantine/`, cut |
//! | bytes that are no frame below a promise | damage: copied, dead letter, and on behind it |
//! | bytes of the next frame that the disk cannot read | damage, whatever was promised |
//! | zeros where something was promised | the log is older than its checkpoint: refused |
//! | a segment that is missing and not known to be delivered | dead letter |
//! | a segment in `acked/` with records that the checkpoint does not call delivered | moved back to `pending/` |
//!
//! The table is [`tail_class::judge`], with a test a row. What survived of the last segment is *rewritten* before it is
//! sealed: after a failed flush Linux calls pages clean that never reached the disk, so flushing what was only read
//! proves nothing. Nobody ever appends behind the tail of another life.

// They panic where nobody reads or the disk is full.
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

/// `N` bytes from the system's generator.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    #[cfg(test)]
    if tests::simulated_random(&mut bytes) {
        return Ok(bytes);
    }
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(format!("no random numbers: {e}")))?;
    Ok(bytes)
}
