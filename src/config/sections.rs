//! Stand-ins for the sections whose modules are not merged yet. Each becomes one `use` line in `mod.rs`.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::Serialize;

use crate::mistake::Mistake;
use crate::units::ByteSize;
use crate::units::Span;

pub mod http {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        pub listen: SocketAddr,
        pub admin_listen: SocketAddr,
        pub allow_open: bool,
        pub max_body: ByteSize,
        pub max_batch_body: ByteSize,
        pub max_headers: ByteSize,
        pub max_connections: u32,
        pub header_timeout: Span,
        pub body_timeout: Span,
        pub idle_timeout: Span,
        pub shutdown_grace: Span,
        pub trusted_proxies: Vec<std::net::IpAddr>,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                listen: SocketAddr::from(([127, 0, 0, 1], 8088)),
                admin_listen: SocketAddr::from(([127, 0, 0, 1], 9088)),
                allow_open: false,
                max_body: ByteSize::kib(960),
                max_batch_body: ByteSize::mib(16),
                max_headers: ByteSize::kib(16),
                max_connections: 10_000,
                header_timeout: Span::secs(5),
                body_timeout: Span::secs(10),
                idle_timeout: Span::secs(120),
                shutdown_grace: Span::secs(30),
                trusted_proxies: Vec::new(),
            }
        }
    }

    impl Config {
        pub fn mistakes(&self, authenticated: bool) -> Vec<Mistake> {
            let listeners = [("listen", self.listen), ("admin_listen", self.admin_listen)];
            let open = !authenticated && !self.allow_open;
            let exposed = listeners.into_iter().filter(|(_, at)| open && !at.ip().is_loopback());
            exposed.map(|(key, at)| Mistake::new("server", key, at, "a loopback address")).collect()
        }
    }
}

pub mod drain {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        pub workers: String,
        pub delivery: String,
        pub retry_backoff_min: Span,
        pub retry_backoff_max: Span,
        pub checkpoint_interval: Span,
        pub topic_fault_grace: Span,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                workers: "auto".to_owned(),
                delivery: "at-least-once".to_owned(),
                retry_backoff_min: Span::millis(100),
                retry_backoff_max: Span::secs(30),
                checkpoint_interval: Span::secs(1),
                topic_fault_grace: Span::secs(60),
            }
        }
    }

    impl Config {
        pub fn validate(&self) -> Vec<Mistake> {
            Vec::new()
        }
    }
}

pub mod kafka {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Brokers(String);

    impl<'de> Deserialize<'de> for Brokers {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            #[serde(untagged, expecting = "\"embedded\", host:port, or a list of those")]
            enum Written {
                One(String),
                Many(Vec<String>),
            }
            Ok(match Written::deserialize(from)? {
                Written::One(one) => Self(one),
                Written::Many(many) => Self(many.join(",")),
            })
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        pub brokers: Brokers,
        pub client_id: String,
        pub acks: String,
        pub compression: String,
        pub linger: Span,
        pub batch_size: ByteSize,
        pub message_max: ByteSize,
        pub security_protocol: String,
        pub sasl_mechanism: Option<String>,
        pub sasl_username: Option<String>,
        pub sasl_password_file: Option<String>,
        pub ssl_ca_file: Option<String>,
        pub ssl_cert_file: Option<String>,
        pub ssl_key_file: Option<String>,
        pub properties: BTreeMap<String, String>,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                brokers: Brokers("embedded".to_owned()),
                client_id: "forebay".to_owned(),
                acks: "all".to_owned(),
                compression: "lz4".to_owned(),
                linger: Span::millis(1),
                batch_size: ByteSize::mib(1),
                message_max: ByteSize::mib(1),
                security_protocol: "plaintext".to_owned(),
                sasl_mechanism: None,
                sasl_username: None,
                sasl_password_file: None,
                ssl_ca_file: None,
                ssl_cert_file: None,
                ssl_key_file: None,
                properties: BTreeMap::new(),
            }
        }
    }

    impl Config {
        pub fn validate(&self) -> Vec<Mistake> {
            Vec::new()
        }

        pub fn embedded(&self) -> bool {
            self.brokers.0 == "embedded"
        }
    }
}

pub mod kinds {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        pub name: String,
        pub topic: String,
        pub key: Option<String>,
        pub schema_file: Option<String>,
    }

    pub fn validate(_kinds: &[Config]) -> Vec<Mistake> {
        Vec::new()
    }
}
