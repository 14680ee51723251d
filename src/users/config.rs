//! Configuration section `[users]`.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::phone::PhoneRegion;
use crate::config_error::ConfigError;
use crate::units::{Span, ThreadCount};

const SECTION: &str = "users";

/// bcrypt's minimum is 4. Cost 15 takes about two seconds of a core; a request waits at most five seconds.
pub(super) const ALLOWED_COSTS: RangeInclusive<u32> = 4..=15;
/// A command waits in the log while Kafka or the database is unavailable. Its name must stay reserved meanwhile.
const MIN_PENDING_TTL: Span = Span::secs(600);
/// Less is not enough for a query over a network. A client does not wait longer.
const ALLOWED_CHECK_TIMEOUTS: RangeInclusive<Span> = Span::millis(10)..=Span::secs(10);
const MAX_JITTER: Span = Span::secs(60);

/// Configuration of the user service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the user service is enabled. Default: in embedded mode, or if a database is configured.
    pub enabled: Option<bool>,
    /// Country whose phone numbers need no country code. `None`: all numbers need one.
    pub phone_region: Option<PhoneRegion>,
    /// bcrypt cost (the exponent).
    pub password_cost: u32,
    /// When passwords are hashed.
    pub password_hashing: PasswordHashing,
    /// Number of hashing threads.
    pub hash_threads: ThreadCount,
    /// Timeout of all checks of one command, without hashing.
    pub check_timeout: Span,
    /// Time to live of a reservation.
    pub pending_ttl: Span,
    /// Maximum random addition to `pending_ttl`.
    pub pending_jitter: Span,
    /// Reaction to an unavailable reservation store.
    pub on_marker_failure: OnMarkerFailure,
    /// Reaction to an unavailable database.
    pub on_database_failure: OnDatabaseFailure,
    /// Whether the profile cache is filled at start.
    pub contact_warmup: bool,
    /// Time to live of a cached user.
    pub cache_ttl: Span,
    /// Maximum number of cached users.
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
    /// After the command is accepted. Until then the password is in the log, which must be encrypted.
    Deferred,
}

/// Reaction to an unavailable reservation store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMarkerFailure {
    /// Reject the command; nothing is logged.
    Reject,
    /// Check the database only.
    Degrade,
}

/// Reaction to an unavailable database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDatabaseFailure {
    /// Reject the command; nothing is logged.
    Reject,
    /// Accept the command; the database's unique index decides later.
    Accept,
}

impl Config {
    /// Number of hashing threads on this machine. By default one core is left for other work.
    pub fn hash_thread_count(&self) -> usize {
        self.hash_threads.resolve(|cores| (cores - 1).max(1))
    }

    /// Returns all errors of the section.
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
    fn every_config_error_is_reported_with_its_key() {
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
    fn the_default_is_valid_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
        assert_eq!(Config::default().phone_region, None);
        assert!(Config::default().hash_thread_count() >= 1);
    }
}
