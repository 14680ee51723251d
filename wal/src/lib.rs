//! The log: what it promises, how it lies on disk, and why. Someone could write a second reader from this page.
//!
//! The crate also has the format of the commands in the log ([`command`]), the daemon's control socket ([`control`]), and
//! what the other crates share ([`units`], [`secret_file`], [`sync`], [`planted`]).
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
//! | path in the log's directory | what |
//! |---|---|
//! | `LOCK` | locked for life by the writing process, which it names |
//! | `pending/<first LSN, 20 digits>.wal` | segments with a record that is not delivered, and the open one |
//! | `acked/<first LSN, 20 digits>.wal` | delivered segments, kept for replay and repeated requests |
//! | `checkpoint` | which records are done |
//! | `sent/<segment>` | where Kafka put each record of a segment (`sent.rs`) |
//! | `dead/letters` | dead letters (`dead/`) |
//! | `dead/places` | where its entries lie, for a fast start; may be missing (`dead/places.rs`) |
//! | `quarantine/<segment>-<offset>.torn`, `.damaged` | copies of bytes that were cut or could not be read |
//! | `quarantine/<segment>-<offset>.footer`, `<file>.<n>` | what a repair wrote anew or moved away, and dropped dead letters |
//! | `quarantine/<segment>.header` | the first block of an encrypted segment with damage: its key |
//! | `spare` | the next segment, zero-filled ahead of need |
//! | `index/` | idempotency keys (of `ingest`), rebuildable from the log |
//!
//! Integers are little-endian. Checksums are CRC-32 (IEEE 802.3, reflected, as in zlib). Numbers of records, LSNs,
//! begin at 1, increase by one and are never given twice.
//!
//! # Segment
//!
//! One header block, frames one after another, a footer frame when it is sealed. An open segment's file is filled
//! with zeros to its full size before it is used, so that a flush carries data and no metadata (1.5 times faster on
//! ext4; `fallocate` alone gains nothing) and a full disk shows before anything is accepted. A sealed one is cut
//! behind its footer. Segments are not recycled: other logs paid years of bugs for a few per cent.
//!
//! ## Header, 4096 bytes (one block, so that it is never torn together with a record)
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `forebay\n` |
//! | 8 | 2 | format that wrote it: 1, encrypted 2 |
//! | 10 | 2 | oldest reader that understands it: 1, encrypted 2 |
//! | 12 | 4 | cipher of the payloads; 0: not encrypted, 1: AES-256-GCM-SIV |
//! | 16 | 16 | log id: random, made with the directory |
//! | 32 | 16 | incarnation: random, made at every start |
//! | 48 | 32 | secret of the log: key of the digests in ids and records; encrypted: zero, it lies in the slots |
//! | 80 | 16 | salt: random, part of every checksum in this segment |
//! | 96 | 8 | LSN of the first record |
//! | 104 | 8 | when the segment began, milliseconds since 1970 |
//! | 112 | 8 | predecessor: first LSN (0: there is none) |
//! | 120 | 8 | predecessor: the LSN after its last record |
//! | 128 | 8 | predecessor: bytes of header and records |
//! | 136 | 8 | predecessor: chain (below), 32 bits |
//! | 144 | 8 | bytes the file was filled with |
//! | 152 | 3940 | zero; encrypted: a key slot of 128 bytes at 1024 and at 2048 (`crypt/slots.rs`) |
//! | 4092 | 4 | CRC of bytes 0–4091, with the key slots as zeros |
//!
//! It is durable, and so is its directory entry, before the first record in it is acknowledged. What it repeats of
//! its predecessor shows a log that was cut exactly between two records.
//!
//! ## Frame, a multiple of 8 bytes (so that a length never straddles a sector)
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | CRC of: the segment's salt, the frame's offset in the file (8 bytes), bytes 4–end of the frame |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | LSN; in a footer, the LSN after the last record |
//! | 16 | 8 | when it was accepted, milliseconds since 1970; never less than its predecessor's |
//! | 24 | 1 | 1: record, 2: footer |
//! | 25 | 1 | bit 0: its batch ends here |
//! | 26 | 1 | lane (`command::lane`) |
//! | 27 | 1 | zero |
//! | 28 | 4 | promise: all of this segment below this offset was flushed before this frame was written |
//! | 32 | n | payload; of a record in an encrypted segment ciphertext, and 16 bytes of tag |
//! | … | 0–7 | zero, covered by the CRC |
//!
//! Salt and offset bind a frame to its place: bytes of another file, another place or another life of the file never
//! pass. A length is held against the bytes the file has left before it is believed. Zeros are never a frame, because
//! 0 is no type. Frames never span segments, batches neither. A frame that ends a batch of one carries the mark
//! itself, so a lone record costs no second frame.
//!
//! ## Footer, the payload of a frame of type 2
//!
//! Records (8), bytes of header and records (8), chain (8), instants of the first and last record (8 each), stride of
//! the index (8: 256); number of labels (2), each with its length (1), bytes, and records (8); number of offsets (4)
//! and the offset (4 each) of every 256th record; zeros; then the last 8 bytes of the file: the footer's own offset
//! (4) and `seal`. *Chain*: CRC-32 over the CRCs of all frames in order. Labels are the kinds of commands.
//!
//! # Encryption at rest
//!
//! With a master key every new segment has a random data key, wrapped by the master key in two slots of its header,
//! each bound to bytes 0–511 of it. The payload of a record is sealed under the data key: nonce is the frame's offset (8 bytes, then
//! 4 of zero), associated data bytes 4–31 of the frame, whose length already counts the tag. Checksums are over the
//! ciphertext: torn and damaged bytes are told apart without the key. A frame with a right checksum that does not
//! authenticate is damage like any other: set aside, listed, never delivered. Why no nonce comes twice: `crypt/mod.rs`.
//!
//! *What shows without the key*: numbers, instants and lengths of records, their lanes (one of 256, from the key's
//! hash), how many of which kind lie in a sealed segment (footers), which are done, where Kafka put them (`sent/`), and
//! of dead letters number, instants and attempts. The index holds digests under the log's secret, which is wrapped
//! with the data keys. Nothing else of a record is in any file of the log; the embedded marker store beside it is sealed
//! under a key derived from the master key.
//!
//! *A start* opens everything or touches nothing: without a key that opens every segment of the log and the dead letters
//! it fails before the lock is taken. Segments of before encryption was turned on stay as they are until they go; their headers, and so
//! what they leave on the disk, hold the log's secret in the clear. The dead letters are rewritten at the first start
//! with a key, and at the first one without.
//!
//! *Letting go*: both slots of a delivered segment are overwritten and flushed before it is unlinked, and never
//! before a durable checkpoint calls it done. A start that finds a slot so overwritten removes the segment. What
//! copies of the header elsewhere hold (a flash disk's spare blocks, a copy-on-write file system, a backup) is not
//! destroyed by that; it opens with the master key only.
//!
//! *A new master key* (`rekey.rs`): one slot after the other is rewritten and flushed.
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
//! | `spare`, `*.tmp` | removed, or overwritten |
//! | a segment with a destroyed key | removed: it was being let go of |
//! | the last segment without a footer | read to its end and sealed; a new one begins |
//! | frames behind the last whole batch, or bytes that are no frame, below no promise | torn tail: copied to `quarantine/`, cut |
//! | bytes that are no frame below a promise | damage: copied, dead letter, and on behind it |
//! | bytes of the next frame that the disk cannot read | damage, whatever was promised |
//! | zeros where something was promised | the log is older than its checkpoint: refused |
//! | a segment that is missing and not known to be delivered | dead letter |
//! | a segment in `acked/` with records that the checkpoint does not call delivered | moved back to `pending/` |
//!
//! The table is [`verdict::judge`], with a test a row. What survived of the last segment is *rewritten* before it is
//! sealed: after a failed flush Linux calls pages clean that never reached the disk, so flushing what was only read
//! proves nothing. Nobody ever appends behind the tail of another life.

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bytes;
pub mod checkpoint;
pub mod command;
pub mod control;
mod crypt;
mod cursor;
mod damage;
pub mod dead;
mod end;
pub mod event;
mod footer;
mod frame;
pub mod fs;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod header;
mod housekeeping;
pub mod inspect;
pub mod layout;
mod ledger;
mod lock;
mod log;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod open_error;
mod options;
mod outcome;
pub mod planted;
mod quarantine;
mod recovery;
pub mod rekey;
pub mod repair;
mod salvage;
mod scan;
pub mod secret_file;
mod segment;
mod sent;
mod spare;
mod start;
mod survey;
pub mod sync;
mod tail;
mod tail_recovery;
mod take_over;
mod transactions;
mod types;
mod undelivered;
pub mod units;
mod unlock;
pub mod verdict;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::units::Lsn;
pub use crypt::{KeyFileError, KeyId, Keys, MasterKey};
pub use cursor::Cursor;
pub use event::{Event, Finding, FindingKind, Observer};
pub use housekeeping::Retention;
pub use lock::{Lock, LockError};
pub use log::Log;
pub use open_error::OpenError;
pub use options::Options;
pub use recovery::{Opened, Recovery, open, open_locked};
pub use segment::{Place, Segment};
pub use spare::Unready;
pub use transactions::{Life, Transactions};
pub use types::{Confirmation, Entry, Fate, Figures, Frame, Identity, Letter, ReadError, Record};
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
