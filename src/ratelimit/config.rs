//! The `[rate_limit]` section.

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::units::Span;

use super::settings::{LIMIT_RULE, LIMITS, WINDOW_RULE, WINDOWS};

/// The configured rate limits. They apply until changed at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Turns all limits on or off. If off, a change at run time cannot turn one on.
    pub enabled: bool,
    /// Maximum number of logins per address in a window.
    pub login_limit: u64,
    /// Window of `login_limit`.
    pub login_window: Span,
    /// Maximum number of commands per principal, or per address, in a window.
    pub write_limit: u64,
    /// Window of `write_limit`.
    pub write_window: Span,
    /// Maximum number of failed logins per account in a window.
    pub account_failures: u64,
    /// Window of `account_failures`.
    pub account_window: Span,
    /// Maximum number of logins per address, in a window, that failed or whose password is not compared yet.
    pub address_failures: u64,
    /// Window of `address_failures`.
    pub address_window: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            login_limit: 500_000,
            login_window: Span::secs(120),
            write_limit: 10_000_000,
            write_window: Span::secs(120),
            account_failures: 20,
            account_window: Span::secs(900),
            address_failures: 500,
            address_window: Span::secs(900),
        }
    }
}

impl Config {
    /// Reports all configuration errors at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let limits = [
            ("login_limit", self.login_limit, "login_window", self.login_window),
            ("write_limit", self.write_limit, "write_window", self.write_window),
            ("account_failures", self.account_failures, "account_window", self.account_window),
            ("address_failures", self.address_failures, "address_window", self.address_window),
        ];
        for (limit_key, limit, window_key, window) in limits {
            if !LIMITS.contains(&limit) {
                errors.push(ConfigError::new("rate_limit", limit_key, limit, LIMIT_RULE));
            }
            if !WINDOWS.contains(&window) {
                errors.push(ConfigError::new("rate_limit", window_key, window, WINDOW_RULE));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_every_error_is_reported() {
        assert_eq!(Config::default().validate(), []);
        let text = "login_limit = 0\nlogin_window = \"1ms\"\nwrite_limit = 1000000001\nwrite_window = \"2days\"\n\
                    account_failures = 0\naccount_window = \"0s\"\naddress_failures = 0\naddress_window = \"0s\"";
        let found = toml::from_str::<Config>(text).unwrap().validate();
        let keys: Vec<_> = found.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "login_limit",
                "login_window",
                "write_limit",
                "write_window",
                "account_failures",
                "account_window",
                "address_failures",
                "address_window"
            ]
        );
    }
}
