//! Structured logs on standard error, log lines about slow steps, and traces. Configuration section `[telemetry]`.

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
    /// Format of log lines. `None`: text at a terminal, JSON elsewhere.
    pub log_format: Option<Format>,
    /// Minimum level of log lines.
    pub log_level: Level,
    /// Steps that take longer are logged with their name.
    pub slow_step: Span,
    /// Endpoint that receives the spans of sampled requests. `None` disables traces.
    pub otlp_endpoint: Option<Endpoint>,
    /// Fraction of requests without a `traceparent` that are sampled.
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
    /// Checks the keys of this section. Returns one error per invalid key.
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

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// Minimum level of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Failures only.
    Error,
    /// Also conditions that need attention.
    Warn,
    /// Also changes of state.
    Info,
    /// Also normal events.
    Debug,
    /// Also every detail.
    Trace,
}

impl Level {
    /// Whether repeated lines are logged, because an operator is looking for a cause.
    fn shows_repeats(self) -> bool {
        matches!(self, Self::Debug | Self::Trace)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Maximum time that the end of the process waits for unwritten log lines.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of this process. There is only one, because a process has only one subscriber.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Arc<LogQueue>,
    level: reload::Handle<EnvFilter, Registry>,
}

/// Sends the process's log lines and panics to standard error. `lost` counts lines that could not be written. Only the
/// first call in a process has an effect.
pub fn init(config: &Config, lost: &IntCounter) -> io::Result<()> {
    let output = LogQueue::start(lost)?;
    output.repeats.show_all(config.log_level.shows_repeats());
    let (filter, level) = reload::Layer::new(filter(config.log_level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured())
        // Such an error would be printed, and that panics if standard error fails.
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

/// Colours are used only at a terminal that supports them, unless the user disables them (no-color.org).
fn is_coloured() -> bool {
    let has = |name, is_so: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| is_so(&value));
    io::stderr().is_terminal() && !has("NO_COLOR", |it| !it.is_empty()) && !has("TERM", |it| it == "dumb")
}

/// After this call, lines of at least this level are logged.
pub fn set_level(level: Level) -> io::Result<()> {
    let Some(log) = LOG.get() else { return Ok(()) };
    log.queue.repeats.show_all(level.shows_repeats());
    log.level.reload(filter(level)).map_err(io::Error::other)
}

/// Waits until all log lines are written, for at most one second. Called before the process ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.repeats.log_all_counts(Instant::now());
        log.queue.flush(FLUSH);
    }
}

/// Writes a message for people to standard error, after all log lines. Waits at most one second.
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
    // The log does not exist yet, for example because of an error in the configuration.
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

/// Replaces the default panic hook, which writes to standard error itself and blocks if that is full.
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

/// Filter that admits forebay's own lines from `level` on, and from libraries only warnings and errors.
fn filter(level: Level) -> EnvFilter {
    let others = if level == Level::Error { Level::Error } else { Level::Warn };
    EnvFilter::new(format!("{others},forebay={level}").to_lowercase())
}

/// Timer of a step. When dropped, it logs the step's name and duration if the step was slow.
#[must_use = "a step ends when it is dropped"]
pub struct StepTimer {
    name: &'static str,
    slow: Duration,
    started: Instant,
    histogram: Option<Histogram>,
}

impl StepTimer {
    /// Starts the timer of a step that should take less than `slow`.
    pub fn begin(name: &'static str, slow: Duration) -> Self {
        Self { name, slow, started: Instant::now(), histogram: None }
    }
}

/// Creates the timers of one group of steps. The duration of every step is observed in a histogram, by name.
#[derive(Clone)]
pub struct StepTimers {
    seconds: HistogramVec,
    slow: Duration,
}

impl StepTimers {
    /// For steps that should take less than `slow`. `seconds` must have one label, the name of the step.
    pub fn new(seconds: &HistogramVec, slow: Duration) -> Self {
        Self { seconds: seconds.clone(), slow }
    }

    /// Starts the timer of a step.
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
