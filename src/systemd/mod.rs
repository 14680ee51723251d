//! The service manager's side of life: ready, stopping, alive. Without systemd all of it does nothing.

mod liveness;
mod sockets;

use std::time::Duration;

use sd_notify::NotifyState;

pub use liveness::{Heartbeat, Liveness};
pub use sockets::listeners;

/// The daemon accepts commands.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows of it.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The daemon has begun to stop.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The daemon is alive.
pub fn ping() {
    notify(&[NotifyState::Watchdog]);
}

/// How long the service manager waits for a ping before it calls the daemon hung; none when it does not watch.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "systemd.notify_failed", %error, "service manager not notified");
    }
}
