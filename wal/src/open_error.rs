//! Errors of opening a log.

use std::io;
use std::path::PathBuf;

use super::encryption::{KeyId, Keys};
use super::lock::LockError;
use crate::units::Lsn;

/// Why a log could not be opened. Nothing was changed that a later start could miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock, or the lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory cannot be used.
    #[error("the log directory {path} cannot be used: {source}")]
    Directory {
        /// Path of the directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The directory belongs to another user, spans file systems, or has a path of an unexpected type.
    #[error("{path}: {detail}")]
    Unsuitable {
        /// Path of the file or directory.
        path: PathBuf,
        /// Description of the problem, and how to fix it.
        detail: String,
    },
    /// The directory contains no log.
    #[error("{path} is not a log: it has no directory pending/")]
    Absent {
        /// Path of the directory.
        path: PathBuf,
    },
    /// An I/O error while the log was read or repaired.
    #[error("cannot recover {path}: {source}")]
    Io {
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A segment of a newer format.
    #[error("{path}: {detail}")]
    Version {
        /// Path of the segment.
        path: PathBuf,
        /// The version that is needed.
        detail: String,
    },
    /// A file is encrypted, and none of the given keys opens it.
    #[error(
        "{path} is encrypted, and {given}. It opens with the master key {needs}: name that key's file in [wal] \
         encryption_key_file, or in encryption_old_key_files. Nothing was changed"
    )]
    Key {
        /// Path of the file.
        path: PathBuf,
        /// Ids of the keys that open it.
        needs: String,
        /// Description of the given keys.
        given: String,
    },
    /// The log is older than its checkpoint.
    #[error(
        "the checkpoint covers records up to {durable}, the log ends at {found}: this is an older copy, or \
         flushed data was lost. Restore the missing segments, or remove {path} to continue with the present ones; \
         every record in pending/ is then delivered again"
    )]
    Lost {
        /// The last record that was flushed when the checkpoint was taken.
        durable: Lsn,
        /// The last record in the log.
        found: Lsn,
        /// Path of the checkpoint.
        path: PathBuf,
    },
}

impl OpenError {
    /// The error for a file that none of these keys opens.
    pub(super) fn key(path: PathBuf, needs: &[KeyId], given: &Keys) -> Self {
        let list = |ids: &[KeyId]| ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" or ");
        let given = match &given.ids()[..] {
            [] => "no key is given".to_owned(),
            ids => format!("the key given is another one ({})", list(ids)),
        };
        Self::Key { path, needs: list(needs), given }
    }
}
