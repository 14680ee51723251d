//! Structured logs on standard error, the steps that took too long, and traces. Section `[telemetry]`.

mod journal;
mod log_queue;
mod repeat_filter;
pub mod trace;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{fmt, io};

use prometheus::{Histogram, HistogramVec, IntCounter};
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config_error::ConfigError;
use crate::task::{OnFailure, Thread};
use crate::units::Span;

use log_queue::{LogQueue, QueueWriter};
use repeat_filter::DeduplicationFilter;
use trace::{Endpoint, SampleRatio};

/// Configuration of logs and traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How a line looks. `None`: text at a terminal, JSON elsewhere.
    pub log_format: Option<Format>,
    /// What is logged.
    pub log_level: Level,
    /// A step that takes longer is logged with its name.
    pub slow_step: Span,
    /// Where the spans of sampled requests are sent. `None`: there are none.
    pub otlp_endpoint: Option<Endpoint>,
    /// The share of requests without a `traceparent` that are sampled.
    pub sample_ratio: SampleRatio,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_format: None,
            log_level: Level::Info,
            slow_step: Span::millis(200),
            otlp_endpoint: None,
            sample_ratio: SampleRatio(0.05),
        }
    }
}

impl Config {
    /// What is wrong with the section by itself.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut wrong = |key, found: &dyn fmt::Display, allowed| {
            mistakes.push(ConfigError::new("telemetry", key, found, allowed))
        };
        if self.slow_step < Span::millis(1) {
            wrong("slow_step", &self.slow_step, "at least 1ms");
        }
        if let Some(endpoint) = self.otlp_endpoint.as_ref().filter(|endpoint| endpoint.url().is_none()) {
            wrong("otlp_endpoint", &endpoint.shown(), Endpoint::ALLOWED);
        }
        if !self.sample_ratio.is_valid() {
            wrong("sample_ratio", &self.sample_ratio, "0.0 to 1.0");
        }
        mistakes
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

impl Level {
    /// Whether somebody looks for a cause, and wants to see each line.
    fn shows_repeats(self) -> bool {
        matches!(self, Self::Debug | Self::Trace)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How long the end of the process waits for log lines that are not written yet.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of this process. There is one, as there is one subscriber.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Arc<LogQueue>,
    level: reload::Handle<EnvFilter, Registry>,
}

/// Sends this process's log lines, and its panics, to standard error. Lines that could not be written are counted in
/// `lost`. Works once in a process.
pub fn init(config: &Config, lost: &IntCounter) -> io::Result<()> {
    let output = LogQueue::start(lost)?;
    output.repeats.show_all(config.log_level.shows_repeats());
    let (filter, level) = reload::Layer::new(filter(config.log_level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured())
        // It would be printed, with a panic where that fails.
        .log_internal_errors(false)
        .with_writer(QueueWriter { output: Arc::clone(&output), to_journal: journal::is_stderr() });
    let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
    let lines = match config.log_format.unwrap_or(format) {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text => lines.boxed(),
    };
    let lines = lines.with_filter(DeduplicationFilter(Arc::clone(&output.repeats)));
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(io::Error::other)?;
    LOG.get_or_init(|| Log { queue: output, level });
    log_panics();
    Ok(())
}

/// At a terminal only, and not where its user wants none (no-color.org) or it shows none.
fn is_coloured() -> bool {
    let has = |name, is_so: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| is_so(&value));
    io::stderr().is_terminal() && !has("NO_COLOR", |it| !it.is_empty()) && !has("TERM", |it| it == "dumb")
}

/// From now on lines down to this level are logged.
pub fn set_level(level: Level) -> io::Result<()> {
    let Some(log) = LOG.get() else { return Ok(()) };
    log.queue.repeats.show_all(level.shows_repeats());
    log.level.reload(filter(level)).map_err(io::Error::other)
}

/// Waits until all log lines are written, but no longer than a second: before the process ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.repeats.log_all_counts(Instant::now());
        log.queue.flush(FLUSH);
    }
}

/// Writes a line for a person to standard error, after all log lines. Waits no longer than a second for it.
pub fn write_final_message(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n").into_bytes();
    let line = match journal::is_stderr() {
        true => journal::prefixed(journal::priority(tracing::Level::ERROR), &line),
        false => line,
    };
    if let Some(log) = LOG.get() {
        log.queue.repeats.log_all_counts(Instant::now());
        log.queue.push(&line);
        log.queue.flush(FLUSH);
        return;
    }
    // No log yet: the configuration has mistakes, for example.
    let (done, written) = mpsc::channel();
    let writer = Thread::spawn("last-word", OnFailure::Report(Box::new(drop)), move |_| {
        let _ = io::stderr().write_all(&line);
        let _ = done.send(());
        Ok(())
    });
    if writer.is_ok() {
        let _ = written.recv_timeout(FLUSH);
    }
}

/// The default hook writes to standard error itself, and waits where that is full.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        tracing::error!(
            event = "process.panic",
            thread = thread.name(),
            location = panic.location().map(tracing::field::display),
            backtrace = captured.then(|| tracing::field::display(&backtrace)),
            "panic: {}",
            panic.payload_as_str().unwrap_or_default()
        );
    }));
}

/// Our own lines down to `level`; of the libraries below us only what needs attention.
fn filter(level: Level) -> EnvFilter {
    let others = if level == Level::Error { Level::Error } else { Level::Warn };
    EnvFilter::new(format!("{others},forebay={level}").to_lowercase())
}

/// A step under way; logs its name and duration when it ends later than it should.
#[must_use = "a step ends when it is dropped"]
pub struct StepTimer {
    name: &'static str,
    slow: Duration,
    started: Instant,
    histogram: Option<Histogram>,
}

impl StepTimer {
    /// Begins a step that should take less than `slow`.
    pub fn begin(name: &'static str, slow: Duration) -> Self {
        Self { name, slow, started: Instant::now(), histogram: None }
    }
}

/// Begins steps of one kind of work. Whether slow or not, their durations are counted, by name.
#[derive(Clone)]
pub struct StepTimers {
    seconds: HistogramVec,
    slow: Duration,
}

impl StepTimers {
    /// Of steps that should take less than `slow`; `seconds` has one label, the name.
    pub fn new(seconds: &HistogramVec, slow: Duration) -> Self {
        Self { seconds: seconds.clone(), slow }
    }

    /// Begins a step.
    pub fn begin(&self, name: &'static str) -> StepTimer {
        let timed = Some(self.seconds.with_label_values(&[name]));
        StepTimer { name, slow: self.slow, started: Instant::now(), histogram: timed }
    }
}

impl Drop for StepTimer {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.histogram.iter().for_each(|histogram| histogram.observe(took.as_secs_f64()));
        if took > self.slow {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(event = "step.slow", step = self.name, step.duration_ms = millis, "slow step");
        }
    }
}
