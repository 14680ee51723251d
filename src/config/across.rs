//! What must hold between sections, and between the configuration and the unit file.

use crate::mistake::Mistake;
use crate::units::Span;

use super::AuthMode;
use super::Config;

/// With the other phases of a stop this stays below the `TimeoutStopSec` of `systemd/forebay.service`.
pub const LONGEST_GRACE: Span = Span::secs(60);

pub(super) fn validate(config: &Config) -> Vec<Mistake> {
    let mut mistakes = open_listeners(config);
    let grace = config.server.shutdown_grace;
    if grace > LONGEST_GRACE {
        mistakes.push(Mistake::new("server", "shutdown_grace", grace, "at most 60s"));
    }
    mistakes
}

/// Who can reach an open listener counts as an administrator.
fn open_listeners(config: &Config) -> Vec<Mistake> {
    let server = &config.server;
    if config.auth.mode != AuthMode::Open || server.allow_open {
        return Vec::new();
    }
    let listeners = [("listen", server.listen), ("admin_listen", server.admin_listen)];
    let exposed = listeners.into_iter().filter(|(_, address)| !address.ip().is_loopback());
    let allowed = "a loopback address, unless `auth.mode` is not \"open\" or `server.allow_open` is true";
    exposed.map(|(key, address)| Mistake::new("server", key, address, allowed)).collect()
}
