//! Samples and statistics of a run.

mod recorder;
mod request_stats;
mod sample;

pub use recorder::{IntervalStats, Recorder, RecorderConfig};
pub use request_stats::{RequestStats, histogram, record};
pub use sample::{RequestOutcome, Sample};
