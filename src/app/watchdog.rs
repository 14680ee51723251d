//! Pings for the watchdog of the service manager.

use std::io;
use std::time::{Duration, Instant};

use crate::systemd;
use crate::systemd::{Heartbeat, Liveness};
use crate::task::{FatalSignal, OnFailure, Thread};

/// Pings are sent at half the time the service manager waits (its manual's advice); loops may stand still for as
/// long, but no less than this: idle ones turn once in two seconds at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Pings the service manager while the daemon is alive; no thread when nobody waits for pings.
pub(super) fn start(
    vital: Vec<Heartbeat>,
    pool: Vec<Heartbeat>,
    alarm: FatalSignal,
) -> io::Result<Option<Thread>> {
    let Some(waits) = systemd::watchdog() else { return Ok(None) };
    let interval = waits / 2;
    let mut liveness = Liveness::new(interval.max(LEAST_PATIENCE), vital, pool);
    let thread = Thread::spawn("watchdog", OnFailure::Raise(alarm), move |stop| {
        let began = Instant::now();
        loop {
            let hung = liveness.hung(began.elapsed());
            if hung.is_empty() {
                systemd::ping();
            } else {
                tracing::error!(
                    event = "systemd.watchdog_withheld",
                    loops = hung.join(", "),
                    "no ping for the watchdog: loops make no progress"
                );
            }
            if stop.wait(interval) {
                return Ok(());
            }
        }
    });
    thread.map(Some)
}
