//! The section `[server]` of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::server::hosts::{AllowedHosts, is_loopback};
use super::server::limits::ConnectionLimits;
use crate::config_error::ConfigError;
use crate::ratelimit::TrustedProxies;
use crate::units::{ByteSize, Span};

/// Minimum of `max_headers`. hyper reads a head into one buffer, which must have at least this size.
const MIN_HEADERS: ByteSize = ByteSize::kib(8);

/// Configuration of both listeners. The defaults are in docs/configuration.md#server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the public listener.
    pub listen: SocketAddr,
    /// Address of the operator's listener.
    pub admin_listen: SocketAddr,
    /// Maximum size of one command's body.
    pub max_body: ByteSize,
    /// Maximum size of a batch.
    pub max_batch_body: ByteSize,
    /// Maximum size of request line and headers together.
    pub max_headers: ByteSize,
    /// Maximum time from the first byte of a head to its last. Also the maximum time until a new connection sends its
    /// first byte.
    pub header_timeout: Span,
    /// Maximum time from the end of the head to the last byte of the body. Also the maximum time for which a client may
    /// leave a response unread.
    pub body_timeout: Span,
    /// Maximum idle time between two requests.
    pub idle_timeout: Span,
    /// Maximum open connections of the public listener.
    pub max_connections: usize,
    /// How long requests in progress may continue after a stop.
    pub shutdown_grace: Span,
    /// Whether the public listener may have a non-loopback address without authentication.
    pub allow_open: bool,
    /// Whether the operator's listener, which has no authentication, may have a non-loopback address.
    pub allow_open_admin: bool,
    /// Host names of the listeners, in addition to loopback names and the machine's own name.
    pub allowed_hosts: AllowedHosts,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: TrustedProxies,
    /// Certificate chain of the public listener, in PEM format. Together with the key, it enables TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key of the certificate, in PEM format.
    pub tls_key_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8088)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9088)),
            max_body: ByteSize::kib(960),
            max_batch_body: ByteSize::mib(16),
            max_headers: ByteSize::kib(16),
            header_timeout: Span::secs(5),
            body_timeout: Span::secs(10),
            idle_timeout: Span::secs(120),
            max_connections: 10_000,
            shutdown_grace: Span::secs(30),
            allow_open: false,
            allow_open_admin: false,
            allowed_hosts: AllowedHosts::default(),
            trusted_proxies: TrustedProxies::default(),
            tls_cert_file: None,
            tls_key_file: None,
        }
    }
}

impl Config {
    /// Returns all errors in this section. `authenticated`: whether callers must authenticate.
    pub fn validate(&self, authenticated: bool) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, found: String, allowed: &str| {
            errors.push(ConfigError::new("server", key, found, allowed));
        };
        if !is_loopback(self.listen.ip()) && !authenticated && !self.allow_open {
            wrong(
                "listen",
                self.listen.to_string(),
                "a loopback address, or allow_open = true, or another auth.mode",
            );
        }
        if !is_loopback(self.admin_listen.ip()) && !self.allow_open_admin {
            let allowed = "a loopback address, or allow_open_admin = true";
            wrong("admin_listen", self.admin_listen.to_string(), allowed);
        }
        if !authenticated && !self.trusted_proxies.is_empty() {
            let allowed =
                "none with auth.mode = \"open\", because each client of a proxy would be an administrator";
            wrong("trusted_proxies", self.trusted_proxies.to_string(), allowed);
        }
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            wrong("admin_listen", self.admin_listen.to_string(), "an address other than listen");
        }
        let sizes = [
            ("max_body", self.max_body, ByteSize(1)),
            ("max_batch_body", self.max_batch_body, ByteSize(1)),
            ("max_headers", self.max_headers, MIN_HEADERS),
        ];
        for (key, size, least) in sizes {
            if size < least || size > ByteSize::mib(1024) {
                wrong(key, size.to_string(), &format!("{least} to 1GiB"));
            }
        }
        let spans = [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, span) in spans {
            if span < Span::millis(1) || span > Span::secs(86_400) {
                wrong(key, span.to_string(), "1ms to 1day");
            }
        }
        if self.max_connections == 0 {
            wrong("max_connections", "0".to_owned(), "1 or more");
        }
        let none = || "none".to_owned();
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(_), None) => wrong("tls_key_file", none(), "the key of tls_cert_file, or neither of them"),
            (None, Some(_)) => {
                wrong("tls_cert_file", none(), "the chain of tls_key_file, or neither of them")
            }
            _ => {}
        }
        errors
    }

    /// The limits of the public listener.
    pub fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            max_headers: self.max_headers.as_usize(),
            header_timeout: self.header_timeout.0,
            body_timeout: self.body_timeout.0,
            idle_timeout: self.idle_timeout.0,
            max_connections: self.max_connections,
            shutdown_grace: self.shutdown_grace.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_open_public_listeners_are_not() {
        assert_eq!(Config::default().validate(false), []);
        let open = Config { listen: "0.0.0.0:80".parse().unwrap(), ..Config::default() };
        assert_eq!(open.validate(false)[0].key, "listen");
        assert_eq!(open.validate(true), []);
        assert_eq!(Config { allow_open: true, ..open }.validate(false), []);
    }

    #[test]
    fn only_allow_open_admin_opens_the_operators_listener() {
        let listen = "0.0.0.0:90".parse().unwrap();
        let open = Config { admin_listen: listen, allow_open: true, ..Config::default() };
        for authenticated in [false, true] {
            assert_eq!(open.validate(authenticated)[0].key, "admin_listen");
        }
        assert_eq!(Config { allow_open_admin: true, ..open }.validate(true), []);
    }

    #[test]
    fn all_errors_are_reported() {
        let text = "listen = \"0.0.0.0:80\"\nadmin_listen = \"0.0.0.0:80\"\nmax_headers = \"1KiB\"\nmax_body = 0\n\
                    header_timeout = \"0s\"\nmax_connections = 0";
        let config: Config = toml::from_str(text).unwrap();
        let keys: Vec<_> = config.validate(false).into_iter().map(|m| m.key).collect();
        assert_eq!(
            keys,
            [
                "listen",
                "admin_listen",
                "admin_listen",
                "max_body",
                "max_headers",
                "header_timeout",
                "max_connections"
            ]
        );
        assert!(toml::from_str::<Config>("tls_cert = \"x\"").is_err(), "unknown keys are errors");
    }

    #[test]
    fn tls_needs_certificate_and_key_and_does_not_replace_authentication() {
        let read = |text: &str| toml::from_str::<Config>(text).unwrap();
        let (cert, key) = ("tls_cert_file = \"c\"", "tls_key_file = \"k\"");
        assert_eq!(read(cert).validate(false)[0].key, "tls_key_file");
        assert_eq!(read(key).validate(false)[0].key, "tls_cert_file");
        let both = read(&format!("{cert}\n{key}"));
        assert_eq!(both.validate(false), []);
        let open = Config { listen: "0.0.0.0:443".parse().unwrap(), ..both };
        assert_eq!(open.validate(false)[0].key, "listen", "TLS does not authenticate callers");
    }
}
