//! Statistics of one operation in one phase.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::sample::{RequestOutcome, Sample};
use crate::http::RequestError;

/// Errors by name: their count, and the text of the first one.
pub type Errors = BTreeMap<String, (u64, String)>;

/// Counts and latencies of requests.
#[derive(Clone)]
pub struct RequestStats {
    /// Requests that were due.
    pub due: u64,
    /// Requests with an expected response.
    pub good: u64,
    /// Errors of all other requests.
    pub errors: Errors,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Time from the due time to the end of the response, in microseconds: see [`RequestStats::add`].
    pub latency: Histogram<u64>,
    /// Time from a free connection to the end of the response, in microseconds: a closed loop would measure this.
    pub service: Histogram<u64>,
}

impl RequestStats {
    /// Statistics without requests. Latencies have three digits, up to `longest`.
    pub fn new(longest: Duration) -> Self {
        let histogram = histogram(longest, 3);
        Self {
            due: 0,
            good: 0,
            errors: Errors::new(),
            statuses: BTreeMap::new(),
            latency: histogram.clone(),
            service: histogram,
        }
    }

    /// Adds a request.
    ///
    /// A request without a response counts with the latency `longest`, so that percentiles do not improve when a target
    /// stops responding. A request that was refused, or whose connection ended, counts only among the errors: a quick
    /// error is not a quick response.
    pub fn add(&mut self, sample: &Sample, longest: Duration) {
        self.due += 1;
        if let RequestOutcome::Good(status) | RequestOutcome::Unexpected(status, _) = &sample.outcome {
            *self.statuses.entry(*status).or_default() += 1;
        }
        if let Some(name) = error_name(&sample.outcome) {
            let first = || (0, detail(&sample.outcome));
            self.errors.entry(name).or_insert_with(first).0 += 1;
        } else {
            self.good += 1;
            record(&mut self.service, sample.done.saturating_sub(sample.sent));
        }
        if let Some(latency) = latency(sample, longest) {
            record(&mut self.latency, latency);
        }
    }

    /// Adds all requests of other statistics with the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.due += other.due;
        self.good += other.good;
        for (name, (count, first)) in &other.errors {
            self.errors.entry(name.clone()).or_insert_with(|| (0, first.clone())).0 += count;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        // Histograms with the same bounds can always be added.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
    }

    /// Number of requests without an expected response.
    pub fn failed(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }
}

/// The latency of a request, if it counts.
pub(super) fn latency(sample: &Sample, longest: Duration) -> Option<Duration> {
    match &sample.outcome {
        RequestOutcome::Good(_) => Some(sample.done.saturating_sub(sample.due)),
        RequestOutcome::Failed(RequestError::Timeout | RequestError::NotSent) => Some(longest),
        RequestOutcome::Failed(_) | RequestOutcome::Unexpected(..) => None,
    }
}

/// A histogram of microseconds up to `longest`, with this many digits.
pub fn histogram<C: hdrhistogram::Counter>(longest: Duration, digits: u8) -> Histogram<C> {
    let longest = micros(longest).max(2);
    #[expect(clippy::expect_used, reason = "the bounds are constant but for `longest`, which is at least 2")]
    Histogram::new_with_bounds(1, longest, digits).expect("valid bounds")
}

/// Records a latency; one beyond the bounds counts as the maximum.
pub fn record<C: hdrhistogram::Counter>(histogram: &mut Histogram<C>, latency: Duration) {
    histogram.saturating_record(micros(latency));
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn error_name(outcome: &RequestOutcome) -> Option<String> {
    match outcome {
        RequestOutcome::Good(_) => None,
        RequestOutcome::Unexpected(status, _) => Some(format!("status_{status}")),
        RequestOutcome::Failed(failure) => Some(failure.name().to_owned()),
    }
}

fn detail(outcome: &RequestOutcome) -> String {
    match outcome {
        RequestOutcome::Good(_) => String::new(),
        RequestOutcome::Unexpected(_, code) => code.clone().unwrap_or_default(),
        RequestOutcome::Failed(failure) => failure.detail().to_owned(),
    }
}
