//! Master keys and key files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::sealed_message;
use crate::secret_file;
use crate::secret_file::SecretFileError;

/// Hexadecimal digits of 32 bytes.
const DIGITS: usize = 64;
/// Length of the longest line end.
const LINE_END: usize = 2;

/// Identifies a master key without revealing it: eight bytes of an HMAC under the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A master key. It is erased from memory with its last clone, and never printed.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    bytes: Arc<Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKey").field(&self.id).finish()
    }
}

/// Why a key file cannot be used. Contains nothing of the file's content.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The content is not a key.
    #[error("the key file {path} does not hold 64 hexadecimal digits (32 bytes) and at most one line end")]
    Malformed {
        /// Path of the file.
        path: PathBuf,
    },
    /// Every user can read the file, so the key protects nothing.
    #[error(
        "the key file {path} can be read by every user (mode {mode:04o}): run chmod o-r on it, and consider a new key"
    )]
    Exposed {
        /// Path of the file.
        path: PathBuf,
        /// Mode bits of the file.
        mode: u32,
    },
}

impl MasterKey {
    /// The key with these bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&sealed_message::hmac_sha256(&bytes, &[b"forebay key id"])[..8]);
        Self { id: KeyId(id), bytes: Arc::new(bytes) }
    }

    /// Reads a key file: 64 hexadecimal digits, and optionally one line end.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let malformed = || KeyFileError::Malformed { path: path.to_owned() };
        let text = secret_file::read(path, DIGITS + LINE_END).map_err(|error| match error {
            SecretFileError::Io(source) => KeyFileError::Io { path: path.to_owned(), source },
            SecretFileError::Exposed(mode) => KeyFileError::Exposed { path: path.to_owned(), mode },
            SecretFileError::TooLong(_) => malformed(),
        })?;
        let digits = text.strip_suffix(b"\n").unwrap_or(&text);
        let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0; 32]);
        if digits.len() != DIGITS || HEXLOWER_PERMISSIVE.decode_mut(digits, &mut *bytes).is_err() {
            return Err(malformed());
        }
        Ok(Self::new(bytes))
    }

    /// Id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Derives a key for another purpose than the log. It depends only on this master key and the purpose.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(sealed_message::hmac_sha256(
            &self.bytes,
            &[b"forebay derived key: ", purpose.as_bytes()],
        ))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

/// The master keys a log is opened with.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    current: Option<MasterKey>,
    old: Vec<MasterKey>,
}

impl Keys {
    /// `current` wraps new data keys; with `None`, new files are not encrypted. The `old` keys only open existing
    /// files.
    pub fn new(current: Option<MasterKey>, old: Vec<MasterKey>) -> Self {
        Self { current, old }
    }

    /// Reads the keys from these files.
    pub fn read(current: Option<&Path>, old: &[PathBuf]) -> Result<Self, KeyFileError> {
        let current = current.map(MasterKey::from_file).transpose()?;
        let old = old.iter().map(|path| MasterKey::from_file(path)).collect::<Result<_, _>>()?;
        Ok(Self { current, old })
    }

    /// The key that wraps new data keys.
    pub fn current(&self) -> Option<&MasterKey> {
        self.current.as_ref()
    }

    /// Whether no key is given.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.old.is_empty()
    }

    /// The ids of all keys.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().map(MasterKey::id).collect()
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.all().find(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &MasterKey> {
        self.current.iter().chain(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_key_file_has_64_digits_and_one_line_end() {
        let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
        for good in [digits.clone(), format!("{digits}\n"), format!("{digits}\r\n")] {
            let key = MasterKey::from_file(file(&good, 0o640).path()).unwrap();
            assert_eq!(key.bytes()[..4], [0x01, 0x23, 0x45, 0x67]);
            assert!(!format!("{key:?}").contains("123456789"), "a key is never shown");
        }
        let bad = ["", &digits[1..], &format!("{digits}0"), &format!("{digits}\n\n"), &format!(" {digits}")];
        for bad in bad.map(str::to_owned).into_iter().chain([digits.replace('a', "g")]) {
            let error = MasterKey::from_file(file(&bad, 0o600).path()).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{bad:?}: {error}");
            assert!(!error.to_string().contains("0123456789abcdef"), "the error shows no part of the key");
        }
    }

    #[test]
    fn a_key_that_everyone_may_read_is_refused() {
        let error = MasterKey::from_file(file(&"00".repeat(32), 0o644).path()).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { mode: 0o644, .. }), "{error}");
    }
}
