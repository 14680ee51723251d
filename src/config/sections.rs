//! Stand-ins for the sections whose modules are not merged yet. Each becomes one `use` line in `mod.rs`.
#![allow(missing_docs)]

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
