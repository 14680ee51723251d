//! The log. (Format specification follows with the code.)

pub mod checkpoint;
mod cursor;
pub mod dead;
pub mod event;
mod footer;
mod frame;
pub mod fs;
mod header;
mod housekeeping;
pub mod inspect;
mod ledger;
mod lock;
mod log;
mod quarantine;
mod recovery;
mod scan;
mod segment;
mod sent;
mod spare;
mod survey;
mod tail;
mod tail_recovery;
mod types;
mod verdict;
mod writer;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use event::Event;
pub use event::Finding;
pub use event::FindingKind;
pub use event::Observer;
pub use housekeeping::Retention;
pub use lock::Lock;
pub use lock::LockError;
pub use log::Fate;
pub use log::Figures;
pub use log::Log;
pub use log::ReadError;
pub use recovery::OpenError;
pub use recovery::Opened;
pub use recovery::Options;
pub use recovery::Recovery;
pub use recovery::open;
pub use recovery::open_locked;
pub use segment::Place;
pub use segment::Segment;
pub use types::Confirmation;
pub use types::Entry;
pub use types::Frame;
pub use types::Identity;
pub use types::Letter;
pub use types::Lsn;
pub use types::Record;
pub use writer::AppendError;
pub use writer::Poisoned;
pub use writer::Writer;

/// `N` bytes from the system's generator.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(format!("no random numbers: {e}")))?;
    Ok(bytes)
}
