//! Sends pings to the watchdog of the service manager.

use std::io;
use std::time::{Duration, Instant};

use crate::systemd;
use crate::systemd::{Heartbeat, Liveness};
use crate::task::{FatalSignal, OnFailure, Thread};

/// Minimum time without progress after which a loop counts as hung. Idle loops iterate at least once in two seconds.
///
/// Above this minimum the limit is half the timeout of the service manager. Pings are sent at the same interval, as
/// sd_watchdog_enabled(3) advises.
const MIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pings the service manager while the daemon is alive. Starts no thread if the service manager expects no pings.
pub(super) fn start(
    vital: Vec<Heartbeat>,
    pool: Vec<Heartbeat>,
    fatal: FatalSignal,
) -> io::Result<Option<Thread>> {
    let Some(timeout) = systemd::watchdog() else { return Ok(None) };
    let interval = timeout / 2;
    let mut liveness = Liveness::new(interval.max(MIN_TIMEOUT), vital, pool);
    let thread = Thread::spawn("watchdog", OnFailure::Raise(fatal), move |stop| {
        let began = Instant::now();
        loop {
            let hung = liveness.hung(began.elapsed());
            if hung.is_empty() {
                systemd::ping();
            } else {
                tracing::error!(
                    event = "systemd.watchdog_withheld",
                    loops = hung.join(", "),
                    "watchdog ping withheld; loops make no progress"
                );
            }
            if stop.wait(interval) {
                return Ok(());
            }
        }
    });
    thread.map(Some)
}
