//! Encryption at rest of the embedded store: keyed digests in place of keys, and encrypted values.

use std::io;

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::AeadInOut;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of the random nonce before an encrypted value. With GCM-SIV a repeated nonce reveals only that two values of
/// one key are equal.
const NONCE: usize = 12;
/// Length of the authentication tag after the encrypted value.
const TAG: usize = 16;

/// Two keys derived from one secret: one for digests, one for values.
pub struct ValueCipher {
    digests: Hmac<Sha256>,
    cipher: Aes256GcmSiv,
}

impl ValueCipher {
    /// Derives the keys from this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        let derive = |purpose: &[u8]| digest(&keyed(secret), &[purpose]);
        let values = zeroize::Zeroizing::new(derive(b"values"));
        Self { digests: keyed(&derive(b"keys")), cipher: Aes256GcmSiv::new((&*values).into()) }
    }

    /// The digest that replaces a key.
    pub fn key(&self, key: &[u8]) -> [u8; 32] {
        digest(&self.digests, &[b"key", key])
    }

    /// Distinguishes a store with this secret from every other one, and reveals nothing about the secret.
    pub fn fingerprint(&self) -> [u8; 32] {
        digest(&self.digests, &[b"mark"])
    }

    /// Encrypts the value of the key with the digest `place`.
    pub fn encrypt(&self, place: &[u8], value: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let mut sealed = Vec::with_capacity(NONCE + value.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce.into(), place, (&mut sealed[NONCE..]).into())
            .map_err(|_| io::Error::other("the value is too long to be encrypted"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Decrypts the value. `None` if it was not encrypted for this place with this secret.
    pub fn decrypt(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (value, tag) = rest.split_last_chunk::<TAG>()?;
        let mut value = value.to_vec();
        let opened =
            self.cipher.decrypt_inout_detached(&(*nonce).into(), place, (&mut value[..]).into(), tag.into());
        opened.ok().map(|()| value)
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Hmac::new_from_slice(key).expect("HMAC takes any key")
}

/// HMAC of a purpose and at most one more part: no two inputs have the same bytes.
fn digest(under: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = under.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_decrypts_only_for_its_key_and_secret() {
        let seal = ValueCipher::new(&[1; 32]);
        let place = seal.key(b"user:pending:ada");
        let sealed = seal.encrypt(&place, b"value").unwrap();
        assert_eq!(seal.decrypt(&place, &sealed).as_deref(), Some(&b"value"[..]));
        assert_eq!(seal.decrypt(&seal.key(b"user:pending:bob"), &sealed), None);
        assert_eq!(ValueCipher::new(&[2; 32]).decrypt(&place, &sealed), None);
        assert_ne!(ValueCipher::new(&[2; 32]).key(b"user:pending:ada"), place);
        assert_ne!(seal.encrypt(&place, b"value").unwrap(), sealed);
        (0..sealed.len()).for_each(|end| assert_eq!(seal.decrypt(&place, &sealed[..end]), None));
    }
}
