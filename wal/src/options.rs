//! Options for opening a log.

use super::encryption::Keys;
use super::event::Observer;

/// Options for opening a log.
#[derive(Clone)]
pub struct Options {
    /// Size of a segment file in bytes.
    pub segment_size: u64,
    /// Bytes that must stay free on the file system.
    pub reserve_space: u64,
    /// Whether all retained records are delivered again, even delivered ones. For a broker inside the process, which
    /// has no data after a restart. Dead letters are not delivered.
    pub redeliver: bool,
    /// The master keys. Without any, new records are not encrypted and encrypted ones cannot be opened.
    pub keys: Keys,
    /// Returns the label that the writer gave a record, from its payload.
    pub label: fn(&[u8]) -> Option<String>,
    /// Receives events.
    pub observer: Observer,
}
