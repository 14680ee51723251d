//! The seal on command ids: daemons on one database know the ids that one of them has made, without asking it.
//!
//! Four of an id's nine random bytes are a digest of the other five, the instant and the log's tag, under the secret that
//! these daemons share. One invented id in 4 billion passes; a client that was given an id may ask for it at any daemon. The
//! ids of a daemon that has not heard the secret yet are not sealed: its own log knows them.

use std::sync::{Arc, OnceLock};

use super::digest::{KeyedDigest, constant_time_eq};

/// Bytes of the seal.
pub(super) const SEAL_LEN: usize = 4;

const DOMAIN: &[u8] = b"forebay command id seal 1";

/// The seal, once its secret is known. Clones are the same seal.
#[derive(Clone, Default)]
pub struct IdSeal(Arc<OnceLock<KeyedDigest>>);

impl IdSeal {
    /// The secret is known from now on. Later calls change nothing.
    pub fn set(&self, secret: &[u8; 32]) {
        self.0.get_or_init(|| KeyedDigest::new(secret));
    }

    /// The seal of an id's other bytes; none while the secret is not known.
    pub(super) fn compute(&self, head: &[u8], random: &[u8]) -> Option<[u8; SEAL_LEN]> {
        let digest = self.0.get()?.of(&[DOMAIN, head, random]);
        let mut seal = [0; SEAL_LEN];
        seal.copy_from_slice(&digest[..SEAL_LEN]);
        Some(seal)
    }

    /// Whether this is the seal of these bytes. Not while the secret is not known.
    pub(super) fn matches(&self, seal: &[u8], head: &[u8], random: &[u8]) -> bool {
        self.compute(head, random).is_some_and(|right| constant_time_eq(&right, seal))
    }
}

impl std::fmt::Debug for IdSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdSeal").field("known", &self.0.get().is_some()).finish()
    }
}
