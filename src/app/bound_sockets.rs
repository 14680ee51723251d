//! The addresses of the listeners: taken before the log is touched, from the service manager where it passes them.

use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, ConfigErrors};
use crate::config_error::ConfigError;
use crate::http::BoundSocket;
use crate::systemd;

use super::Failure;

/// Both addresses of the daemon.
pub(super) struct BoundSockets {
    pub(super) public: BoundSocket,
    pub(super) admin: BoundSocket,
}

impl BoundSockets {
    /// Takes both addresses. A port that another process has is found here, while everything is as it was.
    pub(super) fn take(config: &Config, mut passed: ActivatedSockets) -> Result<Self, Failure> {
        let server = &config.server;
        let (public, admin) = (passed.take(server.listen), passed.take(server.admin_listen));
        // Before anything is bound: a socket that no listener takes may have the address of one.
        passed.reject_unused()?;
        Ok(Self {
            public: or_bind(public, "listen", server.listen)?,
            admin: or_bind(admin, "admin_listen", server.admin_listen)?,
        })
    }

    /// Takes the operators' address alone.
    pub(super) fn take_admin(config: &Config, mut passed: ActivatedSockets) -> Result<BoundSocket, Failure> {
        let address = config.server.admin_listen;
        let admin = passed.take(address);
        passed.reject_unused()?;
        or_bind(admin, "admin_listen", address)
    }
}

fn or_bind(
    passed: Option<TcpListener>,
    key: &'static str,
    address: SocketAddr,
) -> Result<BoundSocket, Failure> {
    match passed {
        Some(listener) => Ok(BoundSocket::inherited(listener)),
        None => BoundSocket::bind(address).map_err(|source| Failure::Listen { key, address, source }),
    }
}

/// The listeners that the service manager passes. Each is told from the other by its address, so that the socket unit and
/// the configuration cannot disagree unnoticed.
pub(super) struct ActivatedSockets(Vec<(SocketAddr, TcpListener)>);

impl ActivatedSockets {
    /// Call it once, while the process has one thread.
    pub(super) fn receive() -> Result<Self, Failure> {
        let listeners = systemd::listeners().and_then(|listeners| {
            listeners.into_iter().map(|listener| Ok((listener.local_addr()?, listener))).collect()
        });
        listeners.map(Self).map_err(Failure::system("a socket that the service manager passes"))
    }

    fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|(passed, _)| *passed == address)?;
        Some(self.0.swap_remove(index).1)
    }

    /// A socket that no listener takes would leave its clients waiting for ever.
    fn reject_unused(self) -> Result<(), Failure> {
        let mistake = |(address, _): (SocketAddr, TcpListener)| {
            let allowed = "an address of [server] listen or admin_listen: change the socket unit or the key";
            ConfigError::new(
                "server",
                "listen",
                format!("a socket that the service manager passes on {address}"),
                allowed,
            )
        };
        let mistakes: Vec<_> = self.0.into_iter().map(mistake).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors::from(mistakes).into()) }
    }
}
