//! What the daemon did during the last hour, for the status page: a page that is opened at night shows the evening.
//!
//! Once a second a [`MetricsSample`] of the daemon's counters and gauges is recorded. Of every [`STEP`] one [`Point`] is kept, for
//! an hour: [`CAPACITY`] points of 56 bytes are 40 KiB. Nothing is written to disk, so a restart begins anew.
//!
//! - `sample`: the counters at one moment, and the rates between two; `recorder`: what is kept of them.

mod recorder;
mod sample;

use std::time::Duration;

pub use recorder::{History, HistoryView, Point, Trend};
pub use sample::{Flushes, MetricsSample, Rates, TopicRates, TopicSample};

/// The time that one point stands for. The problem list looks at the disk as often.
pub const STEP: Duration = Duration::from_secs(5);
/// An hour of points.
pub const CAPACITY: usize = 720;
/// The time that is shown.
pub const HOUR: Duration = Duration::from_secs(3_600);
