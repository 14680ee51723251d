//! The `[database]` section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::units::Span;

use super::pooler::Pooler;
use super::retention::{KEEP_OUTCOMES, Retention};
use super::url::DatabaseUrl;

/// Location of the user database, and the limits of its connections and statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `sqlite:PATH`, `mysql://…` or `postgres://…`.
    pub url: DatabaseUrl,
    /// File that contains the password. A final newline is ignored.
    pub password_file: Option<PathBuf>,
    /// Maximum number of open connections.
    pub max_connections: u32,
    /// Maximum time that a call waits for a connection.
    pub acquire_timeout: Span,
    /// Maximum duration of a statement.
    pub statement_timeout: Span,
    /// Maximum lifetime of a connection.
    pub max_lifetime: Span,
    /// Connection pooler in front of PostgreSQL.
    pub pooler: Pooler,
    /// Retention of `audit` rows. Zero retains them indefinitely.
    pub audit_retention: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::embedded(),
            password_file: None,
            max_connections: 16,
            acquire_timeout: Span::secs(1),
            statement_timeout: Span::secs(5),
            max_lifetime: Span::secs(1800),
            pooler: Pooler::None,
            // "1year"
            audit_retention: Span::secs(31_557_600),
        }
    }
}

impl Config {
    /// Reports all configuration errors at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, found: String, allowed: &str| {
            errors.push(ConfigError::new("database", key, found, allowed));
        };
        if self.url.driver_options().is_err() {
            let allowed = "sqlite:PATH, mysql://USER@HOST/NAME or postgres://USER@HOST/NAME, with special \
                           characters in names and passwords escaped as %XX";
            refuse("url", self.url.to_string(), allowed);
        }
        if let Some(path) = &self.password_file {
            if !path.is_file() {
                refuse("password_file", path.display().to_string(), "a file that exists");
            }
            if self.url.has_password() {
                refuse(
                    "password_file",
                    path.display().to_string(),
                    "no value, because the url already has a password",
                );
            }
            if self.url.is_embedded() {
                refuse(
                    "password_file",
                    path.display().to_string(),
                    "no value, because SQLite has no passwords",
                );
            }
        }
        if self.pooler != Pooler::None && !self.url.is_postgres() {
            refuse("pooler", "transaction".to_owned(), "none, because only PostgreSQL can have a pooler");
        }
        if !(1..=1000).contains(&self.max_connections) {
            refuse("max_connections", self.max_connections.to_string(), "1 to 1000");
        }
        let spans = [
            ("acquire_timeout", self.acquire_timeout, Span::millis(10)..=Span::secs(60), "10ms to 1m"),
            ("statement_timeout", self.statement_timeout, Span::millis(100)..=Span::secs(300), "100ms to 5m"),
            ("max_lifetime", self.max_lifetime, Span::secs(1)..=Span::secs(86_400), "1s to 1day"),
        ];
        for (key, span, range, allowed) in spans {
            if !range.contains(&span) {
                refuse(key, span.to_string(), allowed);
            }
        }
        if self.audit_retention < Span(KEEP_OUTCOMES) && !self.audit_retention.0.is_zero() {
            let allowed = "0s (indefinitely), or 30days and more: a command that is delivered again after its outcome row \
                           expired (30 days) is known by its row in `audit`";
            refuse("audit_retention", self.audit_retention.to_string(), allowed);
        }
        errors
    }

    /// The retention of each table's rows.
    pub fn retention(&self) -> Retention {
        Retention::new(Some(self.audit_retention.0).filter(|kept| !kept.is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_right_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn every_error_is_reported_with_its_key_and_no_password() {
        let config: Config = toml::from_str(
            "url = \"redis://u:hunter2@h\"\npassword_file = \"/does/not/exist\"\nmax_connections = 0\n\
             acquire_timeout = \"0s\"\nstatement_timeout = \"1h\"\nmax_lifetime = \"0s\"\naudit_retention = \"29days 23h\"",
        )
        .unwrap();
        let errors = config.validate();
        let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
        let both = ["password_file", "password_file"];
        let spans = ["acquire_timeout", "statement_timeout", "max_lifetime"];
        assert_eq!(keys, [&["url"][..], &both, &["max_connections"], &spans, &["audit_retention"]].concat());
        assert!(!format!("{errors:?}").contains("hunter2"));
    }

    #[test]
    fn audit_retention_is_at_least_that_of_outcomes() {
        let config = |text: &str| toml::from_str::<Config>(&format!("audit_retention = \"{text}\"")).unwrap();
        for right in ["0s", "30days", "1year", "100years"] {
            assert_eq!(config(right).validate(), [], "{right}");
        }
        for short in ["1ms", "1day", "29days 23h 59m 59s"] {
            let errors = config(short).validate();
            assert!(errors.len() == 1 && errors[0].allowed.contains("30days"), "{errors:?}");
        }
        assert_eq!(Config::default().audit_retention.to_string(), "1year");
        assert_eq!(config("0s").retention().audit, None);
        assert_eq!(config("30days").retention().audit, Some(KEEP_OUTCOMES));
    }

    #[test]
    fn invalid_urls_are_errors() {
        let is_invalid = |url: &str| {
            let config = Config { url: url.into(), ..Config::default() };
            !config.validate().is_empty()
        };
        for url in
            ["", "users.db", "sqlite:", "sqlite::memory:", "mysql:h/db", "postgres://h:port/db", "mysql://h"]
        {
            assert!(is_invalid(url), "{url}");
        }
        for url in
            ["sqlite:a.db", "sqlite:///a/b.db", "mysql://u:p@h:3306/db", "postgres://u@h/db?sslmode=disable"]
        {
            assert!(!is_invalid(url), "{url}");
        }
    }
}
