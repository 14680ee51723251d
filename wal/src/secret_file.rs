//! Files with secrets: keys, in the first place.
//!
//! Whoever belongs to a file's group may read it, which is how a service is given one; what everybody may read is
//! refused, because it protects nothing.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// The right of others to read, in a file's mode.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Why a file is not read. Never holds anything of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Everybody may read it.
    #[error("everybody may read it (mode {0:04o}): chmod o-r makes it private, and consider a new secret")]
    Exposed(u32),
    /// It is another file than it is taken for.
    #[error("more than {0} bytes")]
    TooLong(usize),
}

/// What the file holds, up to `most` bytes; wiped from memory when it is dropped. Blocks for the disk.
pub fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.mode() & READABLE_BY_OTHERS != 0 {
        return Err(SecretFileError::Exposed(about.mode() & 0o7777));
    }
    // Room enough from the beginning: a buffer that grows leaves copies behind.
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
    fn what_everybody_may_read_and_what_is_longer_than_it_can_be_is_refused() {
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
