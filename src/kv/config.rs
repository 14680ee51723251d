//! The `[redis]` section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::kv::ServerUrl;
use crate::units::Span;

/// Maximum number of connections. Each is a socket, on this machine and on the server.
const MAX_POOL: usize = 64;

/// Location of the reservations and of the shared cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server. If empty, this process uses an embedded store.
    pub url: ServerUrl,
    /// Whether the server is a node of a cluster.
    pub cluster: bool,
    /// File that contains the password. A final newline is ignored.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that may sign the server's (default: the public authorities).
    pub ca_file: Option<PathBuf>,
    /// Timeout of a call, including the time to connect.
    pub timeout: Span,
    /// Number of open connections.
    pub pool_size: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: ServerUrl::default(),
            cluster: false,
            password_file: None,
            ca_file: None,
            timeout: Span::millis(200),
            pool_size: 4,
        }
    }
}

impl Config {
    /// Reports all configuration errors at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, found: &dyn std::fmt::Display, allowed: &str| {
            errors.push(ConfigError::new("redis", key, found, allowed));
        };
        if !self.url.is_empty() && super::remote::servers(&self.url).is_err() {
            let allowed = "redis://[user[:password]@]host[:port][/database], rediss:// for TLS; for a cluster, several \
                           of its nodes, separated by commas; or \"\" for an embedded store";
            wrong("url", &self.url, allowed);
        } else if !self.cluster && self.url.nodes().count() > 1 {
            wrong("url", &self.url, "one server, because cluster = false");
        }
        if self.cluster && self.url.is_empty() {
            wrong("cluster", &true, "false without a url");
        }
        for (key, file) in [("password_file", &self.password_file), ("ca_file", &self.ca_file)] {
            if let Some(path) = file.as_ref().filter(|path| !path.is_file()) {
                wrong(key, &path.display(), "a file that exists");
            }
        }
        if let Some(path) = self.ca_file.as_ref().filter(|_| !self.url.is_encrypted()) {
            wrong("ca_file", &path.display(), "no value, because the url does not begin with rediss://");
        }
        if self.password_file.is_some() && self.url.has_password() {
            wrong("password_file", &"a password in the url too", "one of the two");
        }
        if !(Span::millis(10)..=Span::secs(10)).contains(&self.timeout) {
            wrong("timeout", &self.timeout, "10ms to 10s");
        }
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            wrong("pool_size", &self.pool_size, "1 to 64");
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<ConfigError> {
        toml::from_str::<Config>(text).unwrap().validate()
    }

    #[test]
    fn the_default_is_valid_and_survives_a_round_trip() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn every_error_is_reported_with_its_key() {
        let text = "url = \"http://:hunter2@x\"\ntimeout = \"0s\"\npool_size = 0\npassword_file = \"/not/there\"\n\
                    ca_file = \"/not/there\"";
        let found = errors(text);
        let keys: Vec<_> = found.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(
            keys,
            ["url", "password_file", "ca_file", "ca_file", "password_file", "timeout", "pool_size"]
        );
        assert!(found.iter().all(|error| !error.to_string().contains("hunter2")), "{found:?}");
        assert_eq!(errors("cluster = true")[0].key, "cluster");
        assert_eq!(errors("url = \"redis://a,redis://b\"")[0].key, "url");
    }

    #[test]
    fn every_usual_form_of_url_is_accepted() {
        for url in ["redis://a", "redis://a:7/2", "rediss://user:pass@a:7", "redis://[::1]:7"] {
            assert_eq!(errors(&format!("url = \"{url}\"")), [], "{url}");
        }
        assert_eq!(errors("url = \"redis://a:1, redis://b:2\"\ncluster = true"), []);
    }
}
