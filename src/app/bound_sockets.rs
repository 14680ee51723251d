//! Binds the addresses of the listeners before the log is opened, or takes them from the service manager.

use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, ConfigErrors};
use crate::config_error::ConfigError;
use crate::http::BoundSocket;
use crate::systemd;

use super::Failure;

/// Sockets of both listeners.
pub(super) struct BoundSockets {
    pub(super) public: BoundSocket,
    pub(super) admin: BoundSocket,
}

impl BoundSockets {
    /// Binds both addresses. An address that is in use fails here, before anything has changed.
    pub(super) fn take(config: &Config, mut passed: ActivatedSockets) -> Result<Self, Failure> {
        let server = &config.server;
        let (public, admin) = (passed.take(server.listen), passed.take(server.admin_listen));
        // Before any bind: an unused socket may occupy the address of a listener.
        passed.reject_unused()?;
        Ok(Self {
            public: or_bind(public, "listen", server.listen)?,
            admin: or_bind(admin, "admin_listen", server.admin_listen)?,
        })
    }

    /// Binds the admin address only.
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

/// Listeners passed by the service manager. They are matched by address, so that a difference between the socket unit
/// and the configuration is detected.
pub(super) struct ActivatedSockets(Vec<(SocketAddr, TcpListener)>);

impl ActivatedSockets {
    /// Receives the sockets. Call it once, while the process has a single thread.
    pub(super) fn receive() -> Result<Self, Failure> {
        let listeners = systemd::listeners().and_then(|listeners| {
            listeners.into_iter().map(|listener| Ok((listener.local_addr()?, listener))).collect()
        });
        listeners.map(Self).map_err(Failure::system("socket passed by the service manager"))
    }

    fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|(passed, _)| *passed == address)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Rejects sockets that no listener takes: their clients would wait indefinitely.
    fn reject_unused(self) -> Result<(), Failure> {
        let mistake = |(address, _): (SocketAddr, TcpListener)| {
            let allowed = "the address of [server] listen or admin_listen; change the socket unit or the key";
            ConfigError::new(
                "server",
                "listen",
                format!("a socket passed by the service manager for {address}"),
                allowed,
            )
        };
        let mistakes: Vec<_> = self.0.into_iter().map(mistake).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors::from(mistakes).into()) }
    }
}
