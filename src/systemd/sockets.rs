//! Socket activation: listeners that the service manager binds and keeps across restarts (sd_listen_fds(3)).

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The TCP listeners passed by the service manager. Empty without socket activation.
///
/// Takes them out of the environment. Call it once, while the process has a single thread. Fails if a descriptor is not
/// a TCP socket.
pub fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    // Every index is taken once, so none of them can be missing.
    (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).transpose()).collect()
}
