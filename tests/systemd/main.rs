//! The daemon under systemd: notifications, socket activation, the units as checked by systemd's own tools, and a real
//! systemd.
// clippy.toml allows this in test functions; their helpers are no different.
#![allow(clippy::unwrap_used)]

mod booted;
mod notify;
mod sockets;
mod unit;

use std::time::Duration;

/// Longer than any step of a test, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);
