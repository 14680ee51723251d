//! Notifications to the service manager: ready, stopping, alive. Without systemd they have no effect.

mod liveness;
mod sockets;

use std::time::Duration;

use sd_notify::NotifyState;

pub use liveness::{Heartbeat, Liveness};
pub use sockets::listeners;

/// Notifies that the daemon accepts commands.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Sets the status line that `systemctl status` shows.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Notifies that the daemon is stopping.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Sends a watchdog ping.
pub fn ping() {
    notify(&[NotifyState::Watchdog]);
}

/// Watchdog timeout of the service manager: without a ping for this long, the daemon counts as hung. `None` if the
/// service manager does not watch it.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "systemd.notify_failed", %error, "service manager not notified");
    }
}
