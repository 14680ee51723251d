//! The dead-letter store: one append-only file. An entry is durable before any position passes its record.
//!
//! `dead/letters` consists of a header (`file_header.rs`) and frames as in a segment. Frames are never encrypted as a
//! whole. The LSN of a frame is that of the dead letter. Its payload is the length of a JSON header (4 bytes), the JSON
//! header, and for a dead letter the whole record.
//!
//! In an encrypted store, reason and record are encrypted (`entry.rs`). Number, times and attempts are not. Neither are
//! damaged ranges and removals, because they contain no user data. A removal is an entry too.
//!
//! The maintenance thread rewrites the file when most of it is removed entries (`rewrite.rs`). A start rewrites it when
//! encryption was turned on or off.
//!
//! Only the locations of entries are in memory. They are saved as the file grows (`saved_index.rs`), so a start reads
//! only later entries; an inspection and a repair read everything. A start also rewrites the entries above the last
//! durable offset. Bytes there that are no valid entry are copied to quarantine and removed.

mod entry;
mod entry_index;
mod file;
mod file_builder;
mod file_header;
mod maintenance;
mod open;
mod rewrite;
mod saved_index;
mod store;
mod types;

#[cfg(test)]
mod concurrency_tests;
#[cfg(test)]
mod saved_index_tests;
#[cfg(test)]
mod tests;

pub use file_header::is_encrypted;
pub use open::missing_keys;
pub use saved_index::remove as remove_saved_index;
pub use store::DeadLetterStore;
pub use types::{DIR, DamagedRange, DeadEntry, FILE, RELATIVE_PATH, Removal, SealedLetter};
