//! How a log is opened.

use super::encryption::Keys;
use super::event::Observer;

/// How to open a log.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment's file.
    pub segment_size: u64,
    /// Bytes of the file system that acceptance leaves free.
    pub reserve_space: u64,
    /// Whether everything that is kept is to be delivered again, delivered or not: where the broker lives and dies
    /// with the process. Dead letters stay dead.
    pub redeliver: bool,
    /// The master keys. With none nothing is encrypted, and nothing encrypted is opened.
    pub keys: Keys,
    /// What a record is counted as: the label its writer gave, read from the payload.
    pub label: fn(&[u8]) -> Option<String>,
    /// Who is told what happens.
    pub observer: Observer,
}
