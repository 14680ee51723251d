//! Keyed digests of values that must not be guessed or found by trying a list of guesses.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 under one secret, cut to 16 bytes.
#[derive(Clone)]
pub struct KeyedDigest(Hmac<Sha256>);

impl KeyedDigest {
    /// A digest under this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        Self(Hmac::new_from_slice(secret).expect("HMAC takes any key"))
    }

    /// The digest of these parts, in this order.
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut mac = self.0.clone();
        for part in parts {
            // The length of each part precedes it, so a byte cannot move from one part to the next.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        digest
    }
}

/// Whether both are equal. The time depends on the length only, not on the position of the first difference.
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_secret_and_part_boundaries() {
        let digest = KeyedDigest::new(&[7; 32]).of(&[b"ab", b"c"]);
        assert_eq!(KeyedDigest::new(&[7; 32]).of(&[b"ab", b"c"]), digest);
        assert_ne!(KeyedDigest::new(&[8; 32]).of(&[b"ab", b"c"]), digest);
        assert_ne!(KeyedDigest::new(&[7; 32]).of(&[b"a", b"bc"]), digest);
    }
}
