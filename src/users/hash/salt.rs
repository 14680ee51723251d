//! Salts for bcrypt.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::command::CommandId;

/// bcrypt's base 64. Its alphabet differs from RFC 4648's; two bits of the last of 22 characters are unused.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    specification.check_trailing_bits = false;
    specification.encoding().ok()
});

/// Decodes the salt in a hash.
pub(super) fn decode_salt(text: &str) -> Option<[u8; 16]> {
    BASE64.as_ref()?.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// A random salt, for a hash that is stored in the record.
pub fn random_salt() -> Result<[u8; 16], getrandom::Error> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

/// A salt for a password hashed after its command was accepted. It is deterministic, so that the record is the same
/// however often it is sent. Without the log's secret it cannot be computed.
pub fn derived_salt(log_secret: &[u8; 32], id: &CommandId) -> [u8; 16] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(log_secret).expect("HMAC takes any key");
    mac.update(b"salt");
    mac.update(id.as_bytes());
    let digest = mac.finalize().into_bytes();
    let mut salt = [0; 16];
    salt.copy_from_slice(&digest[..16]);
    salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_unique_to_a_command_and_log() {
        let (one, other) = (CommandId::from_bytes([1; 25]), CommandId::from_bytes([2; 25]));
        let salt = derived_salt(&[7; 32], &one);
        assert_eq!(salt, derived_salt(&[7; 32], &one));
        assert_ne!(salt, derived_salt(&[7; 32], &other));
        assert_ne!(salt, derived_salt(&[8; 32], &one));
    }
}
