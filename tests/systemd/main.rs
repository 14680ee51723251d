//! The daemon under systemd: its notifications, and the unit file as systemd's own tools judge it.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

mod notify;
mod unit;
