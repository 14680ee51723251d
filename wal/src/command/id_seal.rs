//! The seal in command ids. Daemons that share a database recognise each other's ids without a request.
//!
//! Four of the nine random bytes of an id are replaced by a digest of the other five, the time and the log's tag. Its
//! key is the secret that these daemons share. One invented id in 4 billion passes. A client may therefore query an id
//! at any daemon. A daemon that does not know the secret yet does not seal its ids; its own log recognises them.

use std::sync::{Arc, OnceLock};

use super::digest::{KeyedDigest, constant_time_eq};

/// Length of the seal in bytes.
pub(super) const SEAL_LEN: usize = 4;

const DOMAIN: &[u8] = b"forebay command id seal 1";

/// The seal, which works once its secret is known. Clones share the secret.
#[derive(Clone, Default)]
pub struct IdSeal(Arc<OnceLock<KeyedDigest>>);

impl IdSeal {
    /// Sets the secret. Later calls have no effect.
    pub fn set(&self, secret: &[u8; 32]) {
        self.0.get_or_init(|| KeyedDigest::new(secret));
    }

    /// The seal over the other bytes of an id; `None` while the secret is unknown.
    pub(super) fn compute(&self, head: &[u8], random: &[u8]) -> Option<[u8; SEAL_LEN]> {
        let digest = self.0.get()?.of(&[DOMAIN, head, random]);
        let mut seal = [0; SEAL_LEN];
        seal.copy_from_slice(&digest[..SEAL_LEN]);
        Some(seal)
    }

    /// Whether this is the seal over these bytes. Always `false` while the secret is unknown.
    pub(super) fn matches(&self, seal: &[u8], head: &[u8], random: &[u8]) -> bool {
        self.compute(head, random).is_some_and(|right| constant_time_eq(&right, seal))
    }
}

impl std::fmt::Debug for IdSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdSeal").field("known", &self.0.get().is_some()).finish()
    }
}
