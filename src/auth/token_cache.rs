//! Tokens that were verified a moment ago, so that a signature is not verified with every request.

use std::time::Duration;

use moka::sync::Cache;
use prometheus::IntCounter;

use super::cache_generations::{CacheGenerations, Generation};
use super::metrics::Metrics;
use super::principal::Principal;
use super::tokens_file::TokenDigest;
use crate::units::Timestamp;

/// How long a change may go unnoticed when the word of it was lost.
const TTL: Duration = Duration::from_secs(60);

/// The cache. It holds digests, no tokens.
pub(super) struct TokenCache {
    tokens: Cache<TokenDigest, CachedToken>,
    generations: CacheGenerations,
    hits: IntCounter,
    misses: IntCounter,
}

#[derive(Clone)]
struct CachedToken {
    principal: Principal,
    /// In seconds.
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

    /// Who showed this token before, if it is still good and nothing has changed about them.
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

    /// Remembers who showed a token. `generation`: taken before it was looked at.
    pub fn insert(&self, token: TokenDigest, principal: Principal, expires: u64, generation: Generation) {
        self.tokens.insert(token, CachedToken { principal, expires, generation });
    }

    /// Other keys count now.
    pub fn clear(&self) {
        self.tokens.invalidate_all();
    }
}
