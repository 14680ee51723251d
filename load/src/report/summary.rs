//! Figures of everything measured, of each phase, each operation and each interval.

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
    /// 90 % are not longer.
    pub p90: f64,
    /// 95 % are not longer.
    pub p95: f64,
    /// 99 % are not longer.
    pub p99: f64,
    /// 99.9 % are not longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of a histogram in microseconds. `None` if it is empty.
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

    /// The value of this name, as service levels call it.
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
    /// How many.
    pub count: u64,
    /// What the first one said: an error of the system, or the code of a problem document. May be empty.
    pub first: String,
}

/// The figures of a set of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestSummary {
    /// Requests that were due.
    pub due: u64,
    /// Requests with an expected answer.
    pub good: u64,
    /// The others, as a part of all.
    pub error_rate: f64,
    /// Due requests per second.
    pub due_rate: f64,
    /// Expected answers per second.
    pub achieved_rate: f64,
    /// From the due time to the end of the answer. Unanswered requests count with the longest.
    pub latency_ms: Option<Latency>,
    /// From the time at which a connection was free: what a closed loop would show.
    pub service_ms: Option<Latency>,
    /// Errors by name.
    pub errors: BTreeMap<String, ErrorCount>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
}

impl RequestSummary {
    /// Of a cell. Requests became due during `due_in`, and answers came during `answered_in`.
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

/// A phase with its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseStats {
    /// Its name.
    pub name: String,
    /// Its start, in seconds after the warm-up.
    pub start_seconds: f64,
    /// Its planned length.
    pub seconds: f64,
    /// Planned requests per second at its start.
    pub from_rate: f64,
    /// Planned requests per second at its end.
    pub to_rate: f64,
    /// The requests that were due in it.
    #[serde(flatten)]
    pub figures: RequestSummary,
}

/// One interval of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelinePoint {
    /// Its start, in seconds after the warm-up.
    pub at_seconds: f64,
    /// Requests that were due in it.
    pub due: u64,
    /// Expected answers that came in it.
    pub good: u64,
    /// Requests due in it without an expected answer.
    pub errors: u64,
    /// Latencies of the requests that were due in it.
    pub latency_ms: Option<Latency>,
}

/// All figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredStats {
    /// Of all requests after the warm-up.
    pub total: RequestSummary,
    /// Of each phase, in order.
    pub phases: Vec<PhaseStats>,
    /// Of each operation.
    pub operations: BTreeMap<String, RequestSummary>,
    /// Of each interval, up to the last one with a request or an answer.
    pub timeline: Vec<TimelinePoint>,
    /// Length of an interval.
    pub interval: Duration,
    /// Of the warm-up, in no other figure.
    pub warm_up: RequestSummary,
}

impl MeasuredStats {
    /// Of a run whose last request was due before `ended`.
    pub fn from_recorder(
        recorder: &Recorder,
        profile: &Profile,
        operations: &[String],
        ended: Duration,
    ) -> Self {
        let ended = ended.min(profile.length()).saturating_sub(profile.warm_up);
        let answered_in = ended.max(recorder.last.saturating_sub(profile.warm_up));
        let figures = |cell: &RequestStats| RequestSummary::of(cell, ended, answered_in);
        let warm_up = RequestSummary::of(&recorder.warm_up, profile.warm_up, profile.warm_up);
        Self {
            total: figures(&recorder.total()),
            phases: phases(recorder, profile, ended),
            operations: operations
                .iter()
                .enumerate()
                .map(|(index, name)| (name.clone(), figures(&recorder.operation(index))))
                .collect(),
            timeline: timeline(recorder),
            interval: recorder.interval(),
            warm_up,
        }
    }
}

/// Rates of a phase are of its length, as far as the run came.
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
            figures: RequestSummary::of(&recorder.phase(index), length, length),
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
