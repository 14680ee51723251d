//! The JSON report. docs/guides/load-testing.md describes its members.

use std::collections::BTreeMap;

use serde::Serialize;

use super::summary::{Latency, PhaseStats, RequestSummary, TimelinePoint};
use crate::arrivals::Spacing;
use crate::levels::LevelCheck;

/// Name and version of the document's form. The version changes when a member is removed or changes its meaning.
pub const SCHEMA: &str = "forebay-load/1";

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Start of the run, in RFC 3339.
    pub started_at: String,
    /// Whether a signal ended the run, or the wait for the backlog, early.
    pub interrupted: bool,
    /// Settings of the run.
    pub settings: Settings,
    /// All requests after the warm-up.
    pub total: RequestSummary,
    /// The phases, in order.
    pub phases: Vec<PhaseStats>,
    /// The operations, by name.
    pub operations: BTreeMap<String, RequestSummary>,
    /// Length of an interval of `timeline`, in seconds.
    pub interval_seconds: f64,
    /// The intervals.
    pub timeline: Vec<TimelinePoint>,
    /// The warm-up, which nothing else includes.
    pub warm_up: RequestSummary,
    /// Obtained tokens, including the warm-up.
    pub logins: LoginCounts,
    /// Delivery to Kafka. `None` without `--admin`, or if the admin listener failed after the requests.
    pub kafka: Option<DeliveryStats>,
    /// The tool's own costs.
    pub tool: ToolStats,
    /// Service levels. `None` without `--levels`.
    pub levels: Option<LevelsReport>,
}

/// Settings of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// The target, with unfilled placeholders.
    pub target: String,
    /// Name of this run in placeholders and users.
    pub run: String,
    /// Length of the warm-up.
    pub warm_up_seconds: f64,
    /// Maximum number of requests in progress.
    pub connections: usize,
    /// A request that waited longer for a connection was not sent.
    pub send_within_seconds: f64,
    /// Timeout of a request after it was sent.
    pub timeout_seconds: f64,
    /// Intervals between requests.
    pub spacing: Spacing,
    /// Seed of intervals, operations and values.
    pub seed: u64,
}

/// Obtained tokens, by reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoginCounts {
    /// No token existed.
    pub first: u64,
    /// The token was about to expire.
    pub before_expiry: u64,
    /// The target refused the token with 401.
    pub after_401: u64,
}

/// The daemon's log and Kafka, from the admin listener. The counts cover all clients of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliveryStats {
    /// Records accepted since the start of the warm-up.
    pub accepted: u64,
    /// Records confirmed by Kafka since the start of the warm-up.
    pub delivered: u64,
    /// Undelivered records when the run ended.
    pub backlog: u64,
    /// Age of the oldest undelivered record, in seconds.
    pub oldest_age_seconds: f64,
    /// Dead letters since the start of the warm-up.
    pub dead: u64,
    /// Undelivered records when the warm-up began.
    pub backlog_before: u64,
    /// Seconds until the backlog was empty. `None` if `--await-drained` has passed, was interrupted, or was not given.
    pub drained_after_seconds: Option<f64>,
}

/// The tool's own costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolStats {
    /// CPU time of the run, in seconds.
    pub cpu_seconds: f64,
    /// CPU time per request, in microseconds.
    pub cpu_micros_per_request: f64,
    /// Delay between due time and dispatch, in milliseconds. It is part of every latency.
    pub lateness_ms: Option<Latency>,
}

/// Service levels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelsReport {
    /// Whether all levels are met.
    pub met: bool,
    /// The check of each level.
    pub checks: Vec<LevelCheck>,
}
