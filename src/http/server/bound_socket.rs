//! The address of a listener, before connections come in.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the kernel takes no more than `net.core.somaxconn`. Clients of one that does not
/// fit try again after a second, so there is room for all that come at once when a proxy starts: tokio asks for 128.
const BACKLOG: u32 = 4096;

/// An address that belongs to this process. Connections are refused until `HttpServer::listen`, except by a listener that
/// the service manager keeps open: there they wait.
pub struct BoundSocket(Socket);

enum Socket {
    Bound(TcpSocket),
    /// By the service manager.
    Inherited(std::net::TcpListener),
}

impl BoundSocket {
    /// Binds an address; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart need not wait until the kernel has forgotten the previous connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self(Socket::Bound(socket)))
    }

    /// Takes a listener that the service manager has bound (socket activation).
    pub fn inherited(listener: std::net::TcpListener) -> Self {
        Self(Socket::Inherited(listener))
    }

    /// Lets connections come in. Called on the runtime.
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
