//! The daemon's own threads: the watch over the backlog, and the watchdog's pinger.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alerts::{Alert, Notice};
use crate::systemd::{Heartbeat, Liveness};
use crate::task::{Alarm, OnFailure, Thread};
use crate::wal::Log;
use crate::{alerts, systemd};

use super::backend::oldest_age;

/// Pings are sent at half the time the service manager waits (its manual's advice); loops may stand still for as
/// long, but no less than this: idle ones turn once in two seconds at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Warns while backlog or age are above their thresholds.
pub(super) fn watch(log: Arc<Log>, config: &alerts::Config, alarm: Alarm) -> io::Result<Thread> {
    let interval = config.interval.0;
    let mut backlog = Alert::new(config.backlog_threshold);
    let mut age = Alert::new(config.oldest_age_threshold.0);
    Thread::spawn("watch", OnFailure::Raise(alarm), move |stop| {
        let began = Instant::now();
        while !stop.within(interval) {
            let figures = log.figures();
            let oldest = oldest_age(&log, &figures);
            say("backlog", backlog.look(figures.backlog, began.elapsed()), figures.backlog, oldest);
            say("oldest_age", age.look(oldest, began.elapsed()), figures.backlog, oldest);
        }
        Ok(())
    })
}

fn say(alert: &str, notice: Option<Notice>, backlog: u64, oldest: Duration) {
    let age = oldest.as_secs();
    match notice {
        Some(Notice::Passed) => {
            tracing::warn!(alert, wal.backlog = backlog, wal.oldest_age_s = age, "threshold passed");
        }
        Some(Notice::Over) => {
            tracing::warn!(alert, wal.backlog = backlog, wal.oldest_age_s = age, "threshold past again");
        }
        None => {}
    }
}

/// Pings the service manager while the daemon is alive; no thread when nobody waits for pings.
pub(super) fn watchdog(
    vital: Vec<Heartbeat>,
    pool: Vec<Heartbeat>,
    alarm: Alarm,
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
                tracing::error!(?hung, "no ping for the watchdog");
            }
            if stop.within(interval) {
                return Ok(());
            }
        }
    });
    thread.map(Some)
}
