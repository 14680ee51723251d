//! The daemon under systemd: its notifications, sockets that are passed, the units as systemd's own tools judge them,
//! and under a systemd that runs.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

mod booted;
mod notify;
mod sockets;
mod unit;

use std::time::Duration;

/// Above what any step of a test takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);
