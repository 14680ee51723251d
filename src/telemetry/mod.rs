//! Structured logs on standard error, and the steps that took too long. Section `[telemetry]`.

use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::time::Duration;
use std::time::Instant;

use prometheus::Histogram;
use prometheus::HistogramVec;
use serde::Deserialize;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

use crate::mistake::Mistake;
use crate::units::Span;

/// Configuration of the logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How a line looks; none: JSON, but text for a person at a terminal in embedded mode.
    pub log_format: Option<Format>,
    /// What is logged.
    pub log_level: Level,
    /// A step that takes longer is logged with its name.
    pub slow_step: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { log_format: None, log_level: Level::Info, slow_step: Span::millis(200) }
    }
}

impl Config {
    /// What is wrong with the section by itself.
    pub fn validate(&self) -> Vec<Mistake> {
        let wrong = Mistake::new("telemetry", "slow_step", self.slow_step, "at least 1ms");
        if self.slow_step < Span::millis(1) { vec![wrong] } else { Vec::new() }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

/// The least severe line that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Failures only.
    Error,
    /// And what needs attention.
    Warn,
    /// And what changes.
    Info,
    /// And what happens.
    Debug,
    /// And every detail.
    Trace,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Sends this process's log lines to standard error. Works once in a process.
pub fn init(config: &Config, embedded: bool) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter(config.log_level));
    let terminal = io::stderr().is_terminal();
    match config.log_format.unwrap_or(if embedded && terminal { Format::Text } else { Format::Json }) {
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
        Format::Text => lines.with_ansi(terminal).finish().try_init(),
    }
}

/// Our own lines down to `level`; of the libraries below us only what needs attention.
fn filter(level: Level) -> EnvFilter {
    let others = if level == Level::Error { Level::Error } else { Level::Warn };
    EnvFilter::new(format!("{others},forebay={level}").to_lowercase())
}

/// A step under way; logs its name and duration when it ends later than it should.
#[must_use = "a step ends when it is dropped"]
pub struct Step {
    name: &'static str,
    slow: Duration,
    began: Instant,
    timed: Option<Histogram>,
}

impl Step {
    /// Begins a step that should take less than `slow`.
    pub fn begin(name: &'static str, slow: Duration) -> Self {
        Self { name, slow, began: Instant::now(), timed: None }
    }
}

/// Begins steps of one kind of work. Whether slow or not, their durations are counted, by name.
#[derive(Clone)]
pub struct Steps {
    seconds: HistogramVec,
    slow: Duration,
}

impl Steps {
    /// Of steps that should take less than `slow`; `seconds` has one label, the name.
    pub fn new(seconds: &HistogramVec, slow: Duration) -> Self {
        Self { seconds: seconds.clone(), slow }
    }

    /// Begins a step.
    pub fn begin(&self, name: &'static str) -> Step {
        let timed = Some(self.seconds.with_label_values(&[name]));
        Step { name, slow: self.slow, began: Instant::now(), timed }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.timed.iter().for_each(|histogram| histogram.observe(took.as_secs_f64()));
        if took > self.slow {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(step = self.name, step.duration_ms = millis, "slow step");
        }
    }
}
