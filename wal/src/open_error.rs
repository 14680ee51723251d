//! Why a log cannot be opened.

use std::io;
use std::path::PathBuf;

use super::encryption::{KeyId, Keys};
use super::lock::LockError;
use crate::units::Lsn;

/// Why a log could not be opened. Nothing was changed that a later start could miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory cannot be used.
    #[error("the log directory {path} cannot be used: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory is another user's, spans file systems, or has something else in a file's place.
    #[error("{path}: {detail}")]
    Unsuitable {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        detail: String,
    },
    /// There is no log in the directory.
    #[error("{path} holds no log: a log's directory has a folder pending/ in it")]
    Absent {
        /// Which.
        path: PathBuf,
    },
    /// The disk failed while the log was read or mended.
    #[error("cannot recover {path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A segment of a newer format.
    #[error("{path}: {detail}")]
    Version {
        /// Which.
        path: PathBuf,
        /// Which version is needed.
        detail: String,
    },
    /// What is there is encrypted, and none of the keys given opens it.
    #[error(
        "{path} is encrypted, and {given}. It opens with the master key {needs}: name that key's file in [wal] \
         encryption_key_file, or in encryption_old_key_files. Nothing was changed"
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// The keys of which one opens it.
        needs: String,
        /// What was given.
        given: String,
    },
    /// The log is an older state than its checkpoint has seen.
    #[error(
        "the checkpoint promises records up to {promised}, the log ends at {found}: this is an older copy, or \
         flushed data was lost. Put the missing segments back, or remove {path} to go on with what is there; \
         every record in pending/ is then delivered again"
    )]
    Lost {
        /// The last record that was flushed when the checkpoint was taken.
        promised: Lsn,
        /// The last record there is.
        found: Lsn,
        /// The checkpoint.
        path: PathBuf,
    },
}

impl OpenError {
    /// The error of a file that is locked for these keys.
    pub(super) fn key(path: PathBuf, needs: &[KeyId], given: &Keys) -> Self {
        let list = |ids: &[KeyId]| ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" or ");
        let given = match &given.ids()[..] {
            [] => "no key is given".to_owned(),
            ids => format!("the key given is another one ({})", list(ids)),
        };
        Self::Key { path, needs: list(needs), given }
    }
}
