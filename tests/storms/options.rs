//! How long, how hard, and where to write: from the environment, which `scripts/storm` sets.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::checker::DeliveryMode;
use support::daemon;

/// What one storm is to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub delivery: DeliveryMode,
    pub length: Duration,
    pub seed: u64,
    /// Commands a second.
    pub rate: u32,
    /// The fault that is planted, which has to be found.
    pub planted: Option<String>,
    /// Where the report goes, beside stdout.
    pub report: Option<PathBuf>,
}

/// Long enough for each fault once.
const SHORT_MINUTES: f64 = 1.2;

impl Options {
    /// A short storm unless the environment says otherwise.
    pub fn new(delivery: DeliveryMode) -> Self {
        let minutes: f64 = variable("MINUTES").unwrap_or(SHORT_MINUTES);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            delivery,
            length: Duration::from_secs_f64(minutes * 60.0),
            // Small enough to be typed again.
            seed: variable("SEED").unwrap_or(now.as_micros() as u64 % 1_000_000_000),
            rate: variable("RATE").unwrap_or(500),
            planted: daemon::expected_fault(),
            report: variable("REPORT"),
        }
    }
}

impl DeliveryMode {
    /// As in the daemon's configuration.
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
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value} is not what it should be")))
}
