//! Activity of the daemon during the last hour, for the status page.
//!
//! A [`MetricsSample`] of the daemon's counters and gauges is recorded once per second. Of every [`STEP`] one [`Point`]
//! is kept for one hour: [`CAPACITY`] points of 56 bytes are 40 KiB. Nothing is written to disk, so the history begins
//! again at a restart.
//!
//! - `sample`: the counters at one moment, and the rates between two; `recorder`: the samples and points that are kept.

mod recorder;
mod sample;

use std::time::Duration;

pub use recorder::{History, HistoryView, Point, Trend};
pub use sample::{Flushes, MetricsSample, Rates, TopicRates, TopicSample};

/// Time covered by one point. The checks that need disk I/O run at the same interval.
pub const STEP: Duration = Duration::from_secs(5);
/// Number of points in one hour.
pub const CAPACITY: usize = 720;
/// Time that the status page shows.
pub const HOUR: Duration = Duration::from_secs(3_600);
