//! Encrypts small messages one by one: wrapped keys and dead letters.
//!
//! Each message has its own key: HMAC-SHA256, under the long-lived key, of a purpose and 32 random bytes. Several runs
//! may therefore encrypt under one long-lived key without coordination. On disk: random bytes (32), ciphertext, tag
//! (16).

use std::io;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::super::random;
use super::cipher::{Cipher, TAG_LEN};

const SALT: usize = 32;

/// Additional bytes of a sealed message, compared with the original one.
pub const OVERHEAD: usize = SALT + TAG_LEN;

/// Encrypts a message for one purpose. It can be decrypted only with the same `associated` bytes.
pub fn seal(key: &[u8; 32], purpose: &str, associated: &[u8], plain: &[u8]) -> io::Result<Vec<u8>> {
    let salt: [u8; SALT] = random()?;
    let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
    out.extend_from_slice(&salt);
    out.extend_from_slice(plain);
    let tag = Cipher::new(&derive_key(key, purpose, &salt)).seal(0, associated, &mut out[SALT..]);
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Decrypts a message; `None` if it, its purpose or its associated data is not authentic.
pub fn open(key: &[u8; 32], purpose: &str, associated: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (salt, rest) = sealed.split_first_chunk::<SALT>()?;
    let (bytes, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let mut plain = Zeroizing::new(bytes.to_vec());
    let opened = Cipher::new(&derive_key(key, purpose, salt)).open(0, associated, &mut plain, tag);
    opened.then_some(plain)
}

/// `purpose` is one of a few constants. None is a prefix of another, so no length is needed.
fn derive_key(key: &[u8; 32], purpose: &str, salt: &[u8; SALT]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hmac_sha256(key, &[purpose.as_bytes(), salt]))
}

/// HMAC-SHA256 of the concatenated parts.
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_opens_only_for_its_purpose() {
        let sealed = seal(&[1; 32], "a purpose", b"place", b"hello").unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(**open(&[1; 32], "a purpose", b"place", &sealed).as_ref().unwrap(), b"hello");
        assert!(open(&[2; 32], "a purpose", b"place", &sealed).is_none());
        assert!(open(&[1; 32], "b purpose", b"place", &sealed).is_none());
        assert!(open(&[1; 32], "a purpose", b"other", &sealed).is_none());
        for end in 0..sealed.len() {
            assert!(open(&[1; 32], "a purpose", b"place", &sealed[..end]).is_none());
        }
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&[1; 32], "a purpose", b"place", &bad).is_none(), "bit {bit}");
        }
        assert_ne!(
            seal(&[1; 32], "a purpose", b"place", b"hello").unwrap(),
            sealed,
            "the same key is never used twice"
        );
    }
}
