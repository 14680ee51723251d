//! Caches recently verified passwords, so that the next login with the same password does not need bcrypt.
//!
//! The cache holds no password, but a digest under a random key of this process. An entry is valid until its user
//! changes (see `auth::CacheGenerations`), and at most for its time to live.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus::IntCounter;

use super::metrics::Metrics;
use crate::auth::{CacheGenerations, Generation};
use crate::command::{KeyedDigest, Secret, constant_time_eq};
use crate::units::Timestamp;

/// The data of a user that a login needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub admin: bool,
    pub password_version: String,
    /// When the user was registered.
    pub registered_at: Timestamp,
}

/// The cache of verified credentials.
pub(super) struct CredentialCache {
    key: KeyedDigest,
    entries: Cache<String, CachedCredential>,
    generations: CacheGenerations,
    hits: IntCounter,
    misses: IntCounter,
}

#[derive(Clone)]
struct CachedCredential {
    digest: [u8; 16],
    account: Account,
    generation: Generation,
}

impl CredentialCache {
    /// A cache for at most `size` users, those with the most recent logins, each for at most `ttl`.
    pub fn new(
        ttl: Duration,
        size: u64,
        generations: CacheGenerations,
        metrics: &Metrics,
    ) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let entries = Cache::builder().max_capacity(size).eviction_policy(EvictionPolicy::lru());
        Ok(Self {
            key: KeyedDigest::new(&key),
            entries: entries.time_to_live(ttl).build(),
            generations,
            hits: metrics.credentials.hits.clone(),
            misses: metrics.credentials.misses.clone(),
        })
    }

    /// The account, if this password was recently verified.
    pub fn get(&self, name: &str, password: &Secret) -> Option<Account> {
        let digest = self.digest(name, password);
        let found = self.entries.get(name).filter(|entry| {
            constant_time_eq(&entry.digest, &digest) && self.generations.is_current(name, entry.generation)
        });
        match &found {
            Some(_) => self.hits.inc(),
            None => self.misses.inc(),
        }
        found.map(|entry| entry.account)
    }

    /// Adds a verified password. `generation`: taken before the database was queried.
    pub fn insert(&self, name: &str, password: &Secret, account: Account, generation: Generation) {
        let digest = self.digest(name, password);
        self.entries.insert(name.to_owned(), CachedCredential { digest, account, generation });
    }

    fn digest(&self, name: &str, password: &Secret) -> [u8; 16] {
        self.key.of(&[name.as_bytes(), password.expose().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn account() -> Account {
        Account { admin: false, password_version: "v".to_owned(), registered_at: Timestamp(1) }
    }

    #[test]
    fn only_the_right_password_of_an_unchanged_user_is_recognised() {
        let generations = CacheGenerations::new(10);
        let minute = Duration::from_secs(60);
        let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
        let cache = CredentialCache::new(minute, 10, generations.clone(), &metrics).unwrap();
        cache.insert("ada", &secret("right"), account(), generations.current("ada"));
        assert_eq!(cache.get("ada", &secret("right")), Some(account()));
        assert_eq!(cache.get("ada", &secret("wrong")), None);
        assert_eq!(cache.get("bob", &secret("right")), None);
        generations.invalidate("ada");
        assert_eq!(cache.get("ada", &secret("right")), None);
        let before = generations.current("ada");
        generations.invalidate("ada");
        cache.insert("ada", &secret("right"), account(), before);
        assert_eq!(cache.get("ada", &secret("right")), None, "read before the change, inserted after it");
    }
}
