//! The dead-letter store: one append-only file of entries, durable before any position passes their records.
//!
//! `dead/letters`: a head (`head.rs`), then frames as in a segment, never encrypted as a whole. A frame's LSN is the
//! letter's; its payload is the length of a JSON head (four bytes), the head, and for a letter the record, whole. In
//! an encrypted store reason and record of a letter are sealed (`entry.rs`); its number, instants and attempts show,
//! as do damaged ranges and removals, which hold nobody's data. A removal is an entry too. When removed entries are
//! most of the file it is written anew by the housekeeping thread (`rewrite.rs`), and at a start when encryption was
//! turned on or off since it was made. In memory there are only the places of entries, which are saved as the file
//! grows (`places.rs`): a start reads what came since, an inspection and a repair read everything.
//! A start rewrites what no later entry's promise covers, and takes out what is no entry there, a copy aside.

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
pub use saved_index::remove as forget_places;
pub use store::DeadLetterStore;
pub use types::{DIR, DamagedRange, DeadEntry, FILE, RELATIVE_PATH, Removal, SealedLetter};
