//! Statistics of all measured requests, of each phase, each operation and each interval.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

use crate::profile::Profile;
use crate::record::{Recorder, RequestStats};

/// A distribution of times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

impl Latency {
    /// Summarises a histogram in microseconds. `None` if it is empty.
    pub fn from_histogram<C: Counter>(histogram: &Histogram<C>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Some(Self {
            mean: histogram.mean().round() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        })
    }

    /// The value with this name, as in service levels.
    pub fn named(&self, name: &str) -> f64 {
        match name {
            "p50" => self.p50,
            "p90" => self.p90,
            "p95" => self.p95,
            "p99" => self.p99,
            "p999" => self.p999,
            "mean" => self.mean,
            _ => self.max,
        }
    }
}

/// Errors of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorCount {
    /// Number of errors.
    pub count: u64,
    /// Text of the first error: an error of the system, or the code of a problem document. May be empty.
    pub first: String,
}

/// Statistics of a set of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestSummary {
    /// Requests that were due.
    pub due: u64,
    /// Requests with an expected response.
    pub good: u64,
    /// All other requests, as a fraction.
    pub error_rate: f64,
    /// Due requests per second.
    pub due_rate: f64,
    /// Expected responses per second.
    pub achieved_rate: f64,
    /// Time from the due time to the end of the response. Unanswered requests count with the maximum.
    pub latency_ms: Option<Latency>,
    /// Time from a free connection to the end of the response: a closed loop would measure this.
    pub service_ms: Option<Latency>,
    /// Errors by name.
    pub errors: BTreeMap<String, ErrorCount>,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
}

impl RequestSummary {
    /// Summarises the statistics of requests that became due during `due_in`, with responses during `answered_in`.
    fn of(cell: &RequestStats, due_in: Duration, answered_in: Duration) -> Self {
        let rate = |count: u64, length: Duration| match length.as_secs_f64() {
            0.0 => 0.0,
            seconds => (count as f64 / seconds * 1e3).round() / 1e3,
        };
        let error = |(name, (count, first)): (&String, &(u64, String))| {
            (name.clone(), ErrorCount { count: *count, first: first.clone() })
        };
        Self {
            due: cell.due,
            good: cell.good,
            error_rate: if cell.due == 0 { 0.0 } else { cell.failed() as f64 / cell.due as f64 },
            due_rate: rate(cell.due, due_in),
            achieved_rate: rate(cell.good, answered_in),
            latency_ms: Latency::from_histogram(&cell.latency),
            service_ms: Latency::from_histogram(&cell.service),
            errors: cell.errors.iter().map(error).collect(),
            statuses: cell.statuses.clone(),
        }
    }
}

/// A phase and its statistics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseStats {
    /// Name of the phase.
    pub name: String,
    /// Start, in seconds after the warm-up.
    pub start_seconds: f64,
    /// Planned length, in seconds.
    pub seconds: f64,
    /// Planned requests per second at the start.
    pub from_rate: f64,
    /// Planned requests per second at the end.
    pub to_rate: f64,
    /// The requests that were due in the phase.
    #[serde(flatten)]
    pub stats: RequestSummary,
}

/// One interval of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelinePoint {
    /// Start, in seconds after the warm-up.
    pub at_seconds: f64,
    /// Requests that were due in the interval.
    pub due: u64,
    /// Expected responses that arrived in the interval.
    pub good: u64,
    /// Requests due in the interval without an expected response.
    pub errors: u64,
    /// Latencies of the requests that were due in the interval.
    pub latency_ms: Option<Latency>,
}

/// All statistics of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredStats {
    /// All requests after the warm-up.
    pub total: RequestSummary,
    /// The phases, in order.
    pub phases: Vec<PhaseStats>,
    /// The operations, by name.
    pub operations: BTreeMap<String, RequestSummary>,
    /// The intervals, up to the last one with a request or a response.
    pub timeline: Vec<TimelinePoint>,
    /// Length of an interval.
    pub interval: Duration,
    /// The warm-up, which nothing else includes.
    pub warm_up: RequestSummary,
}

impl MeasuredStats {
    /// Summarises a run whose last request was due before `ended`.
    pub fn from_recorder(
        recorder: &Recorder,
        profile: &Profile,
        operations: &[String],
        ended: Duration,
    ) -> Self {
        let ended = ended.min(profile.length()).saturating_sub(profile.warm_up);
        let answered_in = ended.max(recorder.last.saturating_sub(profile.warm_up));
        let stats = |cell: &RequestStats| RequestSummary::of(cell, ended, answered_in);
        let warm_up = RequestSummary::of(&recorder.warm_up, profile.warm_up, profile.warm_up);
        Self {
            total: stats(&recorder.total()),
            phases: phases(recorder, profile, ended),
            operations: operations
                .iter()
                .enumerate()
                .map(|(index, name)| (name.clone(), stats(&recorder.operation(index))))
                .collect(),
            timeline: timeline(recorder),
            interval: recorder.interval(),
            warm_up,
        }
    }
}

/// Rates of a phase refer to its length, or to its elapsed part if the run ended early.
fn phases(recorder: &Recorder, profile: &Profile, ended: Duration) -> Vec<PhaseStats> {
    let mut start = Duration::ZERO;
    let mut all = Vec::new();
    for (index, phase) in profile.phases.iter().enumerate() {
        let length = phase.length.min(ended.saturating_sub(start));
        all.push(PhaseStats {
            name: phase.name.clone(),
            start_seconds: start.as_secs_f64(),
            seconds: phase.length.as_secs_f64(),
            from_rate: phase.from,
            to_rate: phase.to,
            stats: RequestSummary::of(&recorder.phase(index), length, length),
        });
        start += phase.length;
    }
    all
}

fn timeline(recorder: &Recorder) -> Vec<TimelinePoint> {
    let used =
        recorder.intervals.iter().rposition(|slot| slot.due + slot.good > 0).map_or(0, |last| last + 1);
    let point = |(index, slot): (usize, &crate::record::IntervalStats)| TimelinePoint {
        at_seconds: index as f64 * recorder.interval().as_secs_f64(),
        due: slot.due,
        good: slot.good,
        errors: slot.errors,
        latency_ms: slot.latency.as_ref().and_then(Latency::from_histogram),
    };
    recorder.intervals[..used].iter().enumerate().map(point).collect()
}
