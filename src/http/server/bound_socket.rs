//! A socket that is bound to a listener's address and does not yet accept connections.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Maximum connections that wait to be accepted. The kernel reduces it to `net.core.somaxconn`. A client whose
/// connection does not fit tries again after a second. Therefore the queue holds all connections that a starting proxy
/// opens at once. (tokio's default is 128.)
const BACKLOG: u32 = 4096;

/// A socket bound to an address. The kernel refuses connections until `HttpServer::listen`. Exception: connections to
/// a socket of the service manager wait.
pub struct BoundSocket(Socket);

enum Socket {
    Bound(TcpSocket),
    /// Opened by the service manager.
    Inherited(std::net::TcpListener),
}

impl BoundSocket {
    /// Binds an address. Port 0 selects a free port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without this option, a restart must wait until the kernel has forgotten the previous connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self(Socket::Bound(socket)))
    }

    /// Uses a listener that the service manager has bound (socket activation).
    pub fn inherited(listener: std::net::TcpListener) -> Self {
        Self(Socket::Inherited(listener))
    }

    /// Starts to listen. Must be called within the tokio runtime.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        match self.0 {
            Socket::Bound(socket) => socket.listen(BACKLOG),
            Socket::Inherited(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            }
        }
    }
}
