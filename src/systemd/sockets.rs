//! Socket activation: listeners that the service manager has bound and keeps across restarts (sd_listen_fds(3)).

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The TCP listeners that the service manager passes to this process; none without socket activation.
///
/// Takes them out of the environment: call it once, while the process has one thread. Fails if a descriptor is anything
/// else than a TCP socket.
pub fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    // Every index is taken once, so that none of them is missing.
    (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).transpose()).collect()
}
