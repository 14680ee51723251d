//! Gauges that describe the log, set when somebody looks, so that they are true at that moment.

use std::path::Path;

use serde::Serialize;

use crate::metrics::Metrics;
use crate::units::Timestamp;
use crate::wal::Figures;
use crate::wal::Log;
use crate::wal::Lsn;

/// Sets the gauges of the log's state and of its file system.
pub fn refresh(log: &Log, dir: &Path, metrics: &Metrics) {
    let figures = log.figures();
    let now = Timestamp::now();
    metrics.backlog.set(signed(figures.backlog));
    metrics.backlog_bytes.set(signed(figures.backlog_bytes));
    metrics.dead_letters.set(signed(figures.dead));
    metrics.oldest_age.set(age(&figures, now));
    // Everything before the oldest that waits is over; when none waits, everything is.
    metrics.watermark_timestamp.set(figures.oldest.unwrap_or(now).0 as f64 / 1e3);
    metrics.poisoned.set(log.poisoned().is_some().into());
    match rustix::fs::statvfs(dir) {
        Ok(file_system) => metrics.free_bytes.set(signed(file_system.f_bavail * file_system.f_frsize)),
        Err(error) => tracing::warn!(%error, "the free space of the log's file system is not known"),
    }
}

/// The document of `GET /admin/backlog`, and of `wal-tools status --json`.
#[derive(Debug, Serialize)]
pub struct Backlog {
    backlog: u64,
    oldest_age_seconds: f64,
    backlog_bytes: u64,
    dead: u64,
    poisoned: bool,
    watermark_lsn: Lsn,
    segments: u64,
}

impl Backlog {
    /// The state of `log`, which has so many segments.
    pub fn of(log: &Log, segments: u64) -> Self {
        let figures = log.figures();
        Self {
            backlog: figures.backlog,
            oldest_age_seconds: age(&figures, Timestamp::now()),
            backlog_bytes: figures.backlog_bytes,
            dead: figures.dead,
            poisoned: log.poisoned().is_some(),
            watermark_lsn: figures.watermark,
            segments,
        }
    }
}

/// Seconds since the oldest undelivered record was accepted; 0 without one.
fn age(figures: &Figures, now: Timestamp) -> f64 {
    figures.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64())
}

/// Gauges are signed; no quantity of ours comes near the limit.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
