//! Warnings at every start: listeners that a setting exposes to the network without authentication.

use std::net::SocketAddr;

use crate::auth::Mode;
use crate::config::Config;
use crate::http::is_loopback;

/// The public listener, if this process has one, and the admin listener, as they are bound.
pub(super) fn warn(config: &Config, public: Option<SocketAddr>, admin: SocketAddr) {
    let public = public.filter(|_| config.auth.mode == Mode::Open);
    if let Some(address) = public.filter(|address| !is_loopback(address.ip())) {
        tracing::warn!(
            event = "listener.exposed",
            config.key = "server.allow_open",
            %address,
            "every client that reaches this address is an administrator: it reads, changes and deletes users, and posts \
             commands"
        );
    }
    if !is_loopback(admin.ip()) {
        tracing::warn!(
            event = "listener.exposed",
            config.key = "server.allow_open_admin",
            address = %admin,
            "every client that reaches this address reads metrics, pauses delivery and changes rate limits"
        );
    }
}
