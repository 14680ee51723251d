//! Encryption with one data key.

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};

/// Length in bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// AES-256-GCM-SIV (RFC 8452) under one key. The key is erased from memory when the cipher is dropped.
pub struct Cipher(Aes256GcmSiv);

impl Cipher {
    /// A cipher with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256GcmSiv::new(key.into()))
    }

    /// Encrypts in place. `number` becomes the nonce; the caller must never use a number twice.
    pub fn seal(&self, number: u64, associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_LEN] {
        let sealed = self.0.encrypt_inout_detached(&nonce(number), associated, bytes.into());
        #[expect(clippy::expect_used, reason = "the limit is 64 GiB, and a frame has at most 4 GiB")]
        sealed.expect("a frame is short enough").into()
    }

    /// Decrypts in place. Returns `false` unless number, associated data and bytes are authentic.
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
