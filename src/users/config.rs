//! The `[users]` section.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::phone::PhoneRegion;
use crate::config_error::ConfigError;
use crate::units::{Span, ThreadCount};

const SECTION: &str = "users";

/// bcrypt begins at 4; 15 takes about two seconds of a core, and a request waits at most five.
pub(super) const ALLOWED_COSTS: RangeInclusive<u32> = 4..=15;
/// A command waits in the log while Kafka or the database is away, and its name must not be given to another.
const MIN_PENDING_TTL: Span = Span::secs(600);
/// Less is not enough for a question over a network; a client waits no longer.
const ALLOWED_CHECK_TIMEOUTS: RangeInclusive<Span> = Span::millis(10)..=Span::secs(10);
const MAX_JITTER: Span = Span::secs(60);

/// Configuration of the user service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the daemon has the user service; none: in embedded mode, and with a database of its own.
    pub enabled: Option<bool>,
    /// Whose phone numbers may be written without a country code. None: all need one.
    pub phone_region: Option<PhoneRegion>,
    /// bcrypt's exponent.
    pub password_cost: u32,
    /// When passwords are hashed.
    pub password_hashing: PasswordHashing,
    /// By how many threads.
    pub hash_threads: ThreadCount,
    /// What all checks of one command may take together, hashing left out.
    pub check_timeout: Span,
    /// How long a pending marker lives.
    pub pending_ttl: Span,
    /// How much longer at random, at most.
    pub pending_jitter: Span,
    /// What to do without the store of the markers.
    pub on_marker_failure: OnMarkerFailure,
    /// What to do without the database.
    pub on_database_failure: OnDatabaseFailure,
    /// Whether the cache of names, e-mail addresses and phone numbers is filled at start.
    pub contact_warmup: bool,
    /// How long a user stays in the cache.
    pub cache_ttl: Span,
    /// How many do.
    pub cache_size: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: None,
            phone_region: None,
            password_cost: 10,
            password_hashing: PasswordHashing::BeforeAck,
            hash_threads: ThreadCount::Auto,
            // Requirement B3.
            check_timeout: Span::millis(50),
            pending_ttl: MIN_PENDING_TTL,
            pending_jitter: Span::secs(5),
            on_marker_failure: OnMarkerFailure::Reject,
            on_database_failure: OnDatabaseFailure::Reject,
            contact_warmup: false,
            cache_ttl: Span::secs(60),
            cache_size: 50_000,
        }
    }
}

/// When passwords are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordHashing {
    /// Before the command is accepted.
    BeforeAck,
    /// After it; until then the password lies in the log, which must be encrypted.
    Deferred,
}

/// What to do when the store of the pending markers is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMarkerFailure {
    /// Refuse; nothing is logged.
    Reject,
    /// Ask the database alone.
    Degrade,
}

/// What to do when the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDatabaseFailure {
    /// Refuse; nothing is logged.
    Reject,
    /// Accept; the unique index decides.
    Accept,
}

impl Config {
    /// How many threads hash on this machine: one core is left to everything else.
    pub fn hash_thread_count(&self) -> usize {
        self.hash_threads.resolve(|cores| (cores - 1).max(1))
    }

    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key, found: &dyn std::fmt::Display, allowed: &str| {
            mistakes.push(ConfigError::new(SECTION, key, found, allowed));
        };
        if !ALLOWED_COSTS.contains(&self.password_cost) {
            wrong("password_cost", &self.password_cost, "4 to 15");
        }
        if let Some(count) = self.hash_threads.above_max() {
            wrong("hash_threads", &count, ThreadCount::ALLOWED);
        }
        if !ALLOWED_CHECK_TIMEOUTS.contains(&self.check_timeout) {
            wrong("check_timeout", &self.check_timeout, "10ms to 10s");
        }
        if self.pending_ttl < MIN_PENDING_TTL {
            wrong("pending_ttl", &self.pending_ttl, "at least 10m");
        }
        if self.pending_jitter > MAX_JITTER {
            wrong("pending_jitter", &self.pending_jitter, "at most 1m");
        }
        if self.cache_ttl.0.is_zero() {
            wrong("cache_ttl", &self.cache_ttl, "more than 0s");
        }
        if self.cache_size == 0 {
            wrong("cache_size", &self.cache_size, "at least 1");
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let config: Config = toml::from_str(
            "password_cost = 16\nhash_threads = 129\ncheck_timeout = \"9ms\"\npending_ttl = \"599s\"\npending_jitter = \"61s\"\n\
             cache_ttl = \"0s\"\ncache_size = 0",
        )
        .unwrap();
        let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
        assert_eq!(
            keys,
            [
                "password_cost",
                "hash_threads",
                "check_timeout",
                "pending_ttl",
                "pending_jitter",
                "cache_ttl",
                "cache_size"
            ]
        );
        assert!(toml::from_str::<Config>("hash_threads = 0").is_err());
        assert!(toml::from_str::<Config>("password_hashing = \"later\"").is_err());
        let unknown = toml::from_str::<Config>("phone_region = \"XX\"").unwrap_err();
        assert!(unknown.message().contains("ISO 3166-1"), "{unknown}");
    }

    #[test]
    fn the_default_is_right_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
        assert_eq!(Config::default().phone_region, None);
        assert!(Config::default().hash_thread_count() >= 1);
    }
}
