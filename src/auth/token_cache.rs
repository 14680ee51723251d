//! Cache of verified tokens, so that a signature is not verified for every request.

use std::time::Duration;

use moka::sync::Cache;
use prometheus::IntCounter;

use super::cache_generations::{CacheGenerations, Generation};
use super::metrics::Metrics;
use super::principal::Principal;
use super::tokens_file::TokenDigest;
use crate::units::Timestamp;

/// Maximum time for which a change stays unnoticed if its notification was lost.
const TTL: Duration = Duration::from_secs(60);

/// The cache. It holds digests of tokens, never tokens.
pub(super) struct TokenCache {
    tokens: Cache<TokenDigest, CachedToken>,
    generations: CacheGenerations,
    hits: IntCounter,
    misses: IntCounter,
}

#[derive(Clone)]
struct CachedToken {
    principal: Principal,
    /// End of validity, in seconds since 1970.
    expires: u64,
    generation: Generation,
}

impl TokenCache {
    pub fn new(size: u64, generations: CacheGenerations, metrics: &Metrics) -> Self {
        Self {
            tokens: Cache::builder().max_capacity(size).time_to_live(TTL).build(),
            generations,
            hits: metrics.tokens.hits.clone(),
            misses: metrics.tokens.misses.clone(),
        }
    }

    /// The principal of a cached token. `None` if the token has expired or the user has changed.
    pub fn get(&self, token: &TokenDigest) -> Option<Principal> {
        let found = self.tokens.get(token).filter(|entry| {
            Timestamp::now().0 / 1000 < entry.expires
                && self.generations.is_current(&entry.principal.name, entry.generation)
        });
        match &found {
            Some(_) => self.hits.inc(),
            None => self.misses.inc(),
        }
        found.map(|entry| entry.principal)
    }

    /// Caches the principal of a token. `generation` must be read before the token was verified.
    pub fn insert(&self, token: TokenDigest, principal: Principal, expires: u64, generation: Generation) {
        self.tokens.insert(token, CachedToken { principal, expires, generation });
    }

    /// Empties the cache, after a change of the keys.
    pub fn clear(&self) {
        self.tokens.invalidate_all();
    }
}
