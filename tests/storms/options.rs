//! Duration, load and output of a storm, read from the environment that `scripts/storm` sets.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::checker::DeliveryMode;
use support::daemon;

/// Options of one storm.
#[derive(Clone, Debug)]
pub struct Options {
    pub delivery: DeliveryMode,
    pub length: Duration,
    pub seed: u64,
    /// Commands per second.
    pub rate: u32,
    /// The failpoint that is enabled and must be found.
    pub planted: Option<String>,
    /// The report's file, in addition to stdout.
    pub report: Option<PathBuf>,
}

/// Long enough for each fault to occur once.
const SHORT_MINUTES: f64 = 1.2;

impl Options {
    /// A short storm unless the environment sets other values.
    pub fn new(delivery: DeliveryMode) -> Self {
        let minutes: f64 = variable("MINUTES").unwrap_or(SHORT_MINUTES);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            delivery,
            length: Duration::from_secs_f64(minutes * 60.0),
            // Small enough to be typed.
            seed: variable("SEED").unwrap_or(now.as_micros() as u64 % 1_000_000_000),
            rate: variable("RATE").unwrap_or(500),
            planted: daemon::expected_fault(),
            report: variable("REPORT"),
        }
    }
}

impl DeliveryMode {
    /// The value in the daemon's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let name = format!("FOREBAY_STORM_{name}");
    let value = env::var(&name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value} is not a valid value")))
}
