//! One data key at work.

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// AES-256-GCM-SIV (RFC 8452) under one key, which is wiped from memory with it.
pub struct Cipher(Aes256GcmSiv);

impl Cipher {
    /// The cipher of this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256GcmSiv::new(key.into()))
    }

    /// Encrypts in place. The caller never gives a number twice.
    pub fn seal(&self, number: u64, associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_LEN] {
        let sealed = self.0.encrypt_inout_detached(&nonce(number), associated, bytes.into());
        #[expect(clippy::expect_used, reason = "64 GiB are the limit, a frame has four at most")]
        sealed.expect("a frame is short enough").into()
    }

    /// Decrypts in place; false, with nothing shown, unless number, associated data and bytes are what was sealed.
    #[must_use]
    pub fn open(&self, number: u64, associated: &[u8], bytes: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        self.0.decrypt_inout_detached(&nonce(number), associated, bytes.into(), tag.into()).is_ok()
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce.into()
}
