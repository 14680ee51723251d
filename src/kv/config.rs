//! The `[redis]` section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::kv::ServerUrl;
use crate::units::Span;

/// Each is a socket, here and at the server.
const MAX_POOL: usize = 64;

/// Where the markers and the shared cache are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server; empty: a store of this process's own.
    pub url: ServerUrl,
    /// Whether the server is a node of a cluster.
    pub cluster: bool,
    /// The file that holds the password; a final newline is not part of it.
    pub password_file: Option<PathBuf>,
    /// Certificates that may sign the server's (default: those of the public authorities).
    pub ca_file: Option<PathBuf>,
    /// How long a call may take, connecting included.
    pub timeout: Span,
    /// Connections kept open.
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
    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, found: &dyn std::fmt::Display, allowed: &str| {
            mistakes.push(ConfigError::new("redis", key, found, allowed));
        };
        if !self.url.is_empty() && super::remote::servers(&self.url).is_err() {
            let allowed = "redis://[user[:password]@]host[:port][/database], rediss:// for TLS; of a cluster several \
                           of its nodes, separated by commas; or \"\" for a store of this process's own";
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
            wrong("ca_file", &path.display(), "nothing, because the url does not begin with rediss://");
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
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<ConfigError> {
        toml::from_str::<Config>(text).unwrap().validate()
    }

    #[test]
    fn the_default_is_right_and_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let text = "url = \"http://:hunter2@x\"\ntimeout = \"0s\"\npool_size = 0\npassword_file = \"/not/there\"\n\
                    ca_file = \"/not/there\"";
        let found = mistakes(text);
        let keys: Vec<_> = found.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(
            keys,
            ["url", "password_file", "ca_file", "ca_file", "password_file", "timeout", "pool_size"]
        );
        assert!(found.iter().all(|mistake| !mistake.to_string().contains("hunter2")), "{found:?}");
        assert_eq!(mistakes("cluster = true")[0].key, "cluster");
        assert_eq!(mistakes("url = \"redis://a,redis://b\"")[0].key, "url");
    }

    #[test]
    fn servers_are_named_in_every_usual_form() {
        for url in ["redis://a", "redis://a:7/2", "rediss://user:pass@a:7", "redis://[::1]:7"] {
            assert_eq!(mistakes(&format!("url = \"{url}\"")), [], "{url}");
        }
        assert_eq!(mistakes("url = \"redis://a:1, redis://b:2\"\ncluster = true"), []);
    }
}
