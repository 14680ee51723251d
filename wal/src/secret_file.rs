//! Reads files with secrets, such as keys.
//!
//! The group of a file may read it: this is how a service gets access. A file that every user can read is refused,
//! because it protects nothing.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Mode bit: other users may read the file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Why a secret file cannot be used. Contains nothing of the file's content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Every user can read the file.
    #[error("every user can read it (mode {0:04o}): run chmod o-r on it, and consider a new secret")]
    Exposed(u32),
    /// The file is too large for a secret.
    #[error("more than {0} bytes")]
    TooLong(usize),
}

/// Reads the file, up to `most` bytes. The content is erased from memory when it is dropped. Blocks on disk I/O.
pub fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.mode() & READABLE_BY_OTHERS != 0 {
        return Err(SecretFileError::Exposed(about.mode() & 0o7777));
    }
    // Full capacity from the beginning: a growing buffer would leave copies in memory.
    let room = usize::try_from(about.size()).unwrap_or(most).min(most) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(SecretFileError::TooLong(most)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn exposed_and_too_long_secret_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "0123456789").unwrap();
        let read = |mode: u32, most: usize| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            super::read(&path, most)
        };
        assert_eq!(**read(0o640, 10).unwrap(), *b"0123456789");
        assert!(matches!(read(0o640, 9), Err(SecretFileError::TooLong(9))));
        assert!(matches!(read(0o644, 10), Err(SecretFileError::Exposed(0o644))));
        assert!(matches!(super::read(&dir.path().join("none"), 10), Err(SecretFileError::Io(_))));
    }
}
