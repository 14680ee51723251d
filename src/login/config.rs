//! Configuration section `[login]`.

use serde::{Deserialize, Serialize};

use super::LastLoginConfig;
use crate::config_error::ConfigError;
use crate::units::Span;

const LONGEST_MESSAGE: usize = 500;

/// Configuration of logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a correct password is recognised without bcrypt; 0s disables the cache.
    pub credential_cache_ttl: Span,
    /// Maximum number of users in this cache; the most recent logins are kept.
    pub credential_cache_size: u64,
    /// Maximum number of logins in progress. Further logins are rejected at once.
    pub fast_fail_threshold: usize,
    /// Message of this rejection.
    pub fast_fail_message: String,
    /// Maximum number of login times waiting to be written.
    pub update_buffer: usize,
    /// Maximum number of login times per write.
    pub update_batch_size: usize,
    /// How long a login time waits for others.
    pub update_flush_interval: Span,
    /// Timeout of a write.
    pub update_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            credential_cache_ttl: Span::secs(60),
            credential_cache_size: 50_000,
            fast_fail_threshold: 1000,
            fast_fail_message: "Too many people are logging in at the moment; please try again.".to_owned(),
            update_buffer: 10_000,
            update_batch_size: 512,
            update_flush_interval: Span::secs(1),
            update_timeout: Span::secs(5),
        }
    }
}

impl Config {
    /// Returns all errors of the section.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key, found: &dyn std::fmt::Display, allowed: &str| {
            mistakes.push(ConfigError::new("login", key, found, allowed));
        };
        if self.credential_cache_ttl > Span::secs(3600) {
            wrong("credential_cache_ttl", &self.credential_cache_ttl, "at most 1h");
        }
        if !(1..=10_000_000).contains(&self.credential_cache_size) {
            wrong("credential_cache_size", &self.credential_cache_size, "1 to 10000000");
        }
        if self.fast_fail_threshold == 0 {
            wrong("fast_fail_threshold", &0, "at least 1");
        }
        let message = self.fast_fail_message.trim();
        if message.is_empty() || message.len() > LONGEST_MESSAGE {
            wrong("fast_fail_message", &message, "1 to 500 bytes of text");
        }
        if !(1..=10_000_000).contains(&self.update_buffer) {
            wrong("update_buffer", &self.update_buffer, "1 to 10000000");
        }
        if !(1..=10_000).contains(&self.update_batch_size) {
            wrong("update_batch_size", &self.update_batch_size, "1 to 10000");
        }
        for (key, span) in
            [("update_flush_interval", self.update_flush_interval), ("update_timeout", self.update_timeout)]
        {
            if !(Span::millis(10)..=Span::secs(60)).contains(&span) {
                wrong(key, &span, "10ms to 1m");
            }
        }
        mistakes
    }

    pub(super) fn last_logins(&self) -> LastLoginConfig {
        LastLoginConfig {
            buffer: self.update_buffer,
            batch_size: self.update_batch_size,
            flush_interval: self.update_flush_interval.0,
            timeout: self.update_timeout.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_error_is_reported_with_its_key() {
        let config: Config = toml::from_str(
            "credential_cache_ttl = \"2h\"\ncredential_cache_size = 0\nfast_fail_threshold = 0\n\
             fast_fail_message = \" \"\nupdate_buffer = 0\nupdate_batch_size = 0\nupdate_flush_interval = \"0s\"\n\
             update_timeout = \"2m\"",
        )
        .unwrap();
        let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
        assert_eq!(
            keys,
            [
                "credential_cache_ttl",
                "credential_cache_size",
                "fast_fail_threshold",
                "fast_fail_message",
                "update_buffer",
                "update_batch_size",
                "update_flush_interval",
                "update_timeout"
            ]
        );
    }

    #[test]
    fn the_default_is_valid_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }
}
