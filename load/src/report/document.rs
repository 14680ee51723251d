//! The JSON document. docs/guides/load-testing.md describes its members.

use std::collections::BTreeMap;

use serde::Serialize;

use super::summary::{Latency, PhaseStats, RequestSummary, TimelinePoint};
use crate::arrivals::Spacing;
use crate::levels::LevelCheck;

/// Name and version of the form of the document. The version changes when a member changes its meaning or is removed.
pub const SCHEMA: &str = "forebay-load/1";

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// When the run began, RFC 3339.
    pub started_at: String,
    /// Whether a signal ended it, or the wait for the backlog, early.
    pub interrupted: bool,
    /// What was asked for.
    pub settings: Settings,
    /// Of all requests after the warm-up.
    pub total: RequestSummary,
    /// Of each phase, in order.
    pub phases: Vec<PhaseStats>,
    /// Of each operation.
    pub operations: BTreeMap<String, RequestSummary>,
    /// Length of an interval of `timeline`.
    pub interval_seconds: f64,
    /// Of each interval.
    pub timeline: Vec<TimelinePoint>,
    /// Of the warm-up, in no other figure.
    pub warm_up: RequestSummary,
    /// Tokens that were obtained, the warm-up included.
    pub logins: LoginCounts,
    /// What had reached Kafka. `None` without `--admin`, or if it failed after the requests.
    pub kafka: Option<DeliveryStats>,
    /// The tool itself.
    pub tool: ToolStats,
    /// Service levels. `None` without `--levels`.
    pub levels: Option<LevelsReport>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// Where requests went, without placeholders filled.
    pub target: String,
    /// Name of this run in placeholders and users.
    pub run: String,
    /// Length of the warm-up.
    pub warm_up_seconds: f64,
    /// Most requests in progress.
    pub connections: usize,
    /// A request that waited longer for a connection was not sent.
    pub send_within_seconds: f64,
    /// A request that was not answered within this time after it was sent was given up.
    pub timeout_seconds: f64,
    /// Distances between requests.
    pub spacing: Spacing,
    /// Seed of distances, operations and values.
    pub seed: u64,
}

/// Tokens that were obtained.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoginCounts {
    /// Because there was none.
    pub first: u64,
    /// Because the token was about to expire.
    pub before_expiry: u64,
    /// Because the target refused the token with 401.
    pub after_401: u64,
}

/// The daemon's log and Kafka, from the admin listener. Counts are of all clients of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliveryStats {
    /// Records accepted since the start of the warm-up.
    pub accepted: u64,
    /// Records that Kafka confirmed since then.
    pub delivered: u64,
    /// Records that waited when the run ended.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest_age_seconds: f64,
    /// Dead letters since the start of the warm-up.
    pub dead: u64,
    /// Records that waited when the warm-up began.
    pub backlog_before: u64,
    /// Seconds until nothing waited any more. `None`: not within `--await-drained`, interrupted, or not asked for.
    pub drained_after_seconds: Option<f64>,
}

/// The tool itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolStats {
    /// CPU time of the run, in seconds.
    pub cpu_seconds: f64,
    /// The same for each request, in microseconds.
    pub cpu_micros_per_request: f64,
    /// How late requests were handed over, in milliseconds. It is part of every latency.
    pub lateness_ms: Option<Latency>,
}

/// Service levels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelsReport {
    /// Whether all are met.
    pub met: bool,
    /// Each of them.
    pub checks: Vec<LevelCheck>,
}
