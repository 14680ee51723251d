//! Adds samples to counts and histograms at once, so that memory does not grow with the length of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::request_stats::{RequestStats, histogram, latency, record};
use super::sample::{RequestOutcome, Sample};
use crate::profile::Profile;

/// Maximum number of points in the timeline.
const MAX_INTERVALS: u32 = 300;
/// Minimum interval of the timeline.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The properties of a run that a recorder needs.
#[derive(Clone)]
pub struct RecorderConfig {
    /// The rates over time.
    pub profile: Profile,
    /// Number of operations.
    pub operations: usize,
    /// Maximum latency: by this time after its due time every request has a response or has failed.
    pub longest: Duration,
    /// Length of an interval of the timeline.
    pub interval: Duration,
}

impl RecorderConfig {
    /// Chooses the interval: whole seconds, and at most 300 intervals.
    pub fn new(profile: Profile, operations: usize, longest: Duration) -> Self {
        let seconds = (profile.measured().as_secs_f64() / f64::from(MAX_INTERVALS)).ceil();
        let interval = Duration::from_secs_f64(seconds).max(MIN_INTERVAL);
        Self { profile, operations, longest, interval }
    }

    /// Number of intervals. Responses may arrive until the maximum latency after the last request.
    fn interval_count(&self) -> usize {
        let last = self.profile.measured() + self.longest;
        (last.as_secs_f64() / self.interval.as_secs_f64()).ceil() as usize + 1
    }

    fn interval_index(&self, at: Duration) -> usize {
        let since = at.saturating_sub(self.profile.warm_up).as_secs_f64();
        ((since / self.interval.as_secs_f64()) as usize).min(self.interval_count() - 1)
    }
}

/// Statistics of one interval of the timeline.
#[derive(Clone, Default)]
pub struct IntervalStats {
    /// Requests that were due in the interval.
    pub due: u64,
    /// Expected responses that arrived in the interval.
    pub good: u64,
    /// Requests due in the interval without an expected response.
    pub errors: u64,
    /// Latencies of the requests that were due in the interval, with two digits.
    pub latency: Option<Histogram<u32>>,
}

/// Statistics of a run, or of one thread's requests.
#[derive(Clone)]
pub struct Recorder {
    shape: RecorderConfig,
    /// The warm-up, separate from everything else.
    pub warm_up: RequestStats,
    /// Statistics by phase, then by operation.
    pub stats: Vec<Vec<RequestStats>>,
    /// Timeline of the measured phases.
    pub intervals: Vec<IntervalStats>,
    /// Arrival of the last expected response.
    pub last: Duration,
}

impl Recorder {
    /// Creates a recorder without samples.
    pub fn new(shape: RecorderConfig) -> Self {
        let cell = || RequestStats::new(shape.longest);
        let phase = || (0..shape.operations).map(|_| cell()).collect();
        Self {
            warm_up: cell(),
            stats: shape.profile.phases.iter().map(|_| phase()).collect(),
            intervals: vec![IntervalStats::default(); shape.interval_count()],
            last: Duration::ZERO,
            shape,
        }
    }

    /// Adds a sample to the warm-up or to its phase, by its due time.
    pub fn add(&mut self, sample: &Sample) {
        let longest = self.shape.longest;
        let Some(phase) = self.shape.profile.phase_at(sample.due) else {
            self.warm_up.add(sample, longest);
            return;
        };
        if let Some(cell) = self.stats.get_mut(phase).and_then(|phase| phase.get_mut(sample.operation)) {
            cell.add(sample, longest);
        }
        let (due, done) = (self.shape.interval_index(sample.due), self.shape.interval_index(sample.done));
        if let RequestOutcome::Good(_) = sample.outcome {
            self.intervals[done].good += 1;
            self.last = self.last.max(sample.done);
        } else {
            self.intervals[due].errors += 1;
        }
        let slot = &mut self.intervals[due];
        slot.due += 1;
        if let Some(latency) = latency(sample, longest) {
            record(slot.latency.get_or_insert_with(|| histogram(longest, 2)), latency);
        }
    }

    /// Adds all samples of another recorder of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.warm_up.merge(&other.warm_up);
        for (mine, theirs) in self.stats.iter_mut().flatten().zip(other.stats.iter().flatten()) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            mine.due += theirs.due;
            mine.good += theirs.good;
            mine.errors += theirs.errors;
            if let Some(latency) = &theirs.latency {
                let all = mine.latency.get_or_insert_with(|| histogram(self.shape.longest, 2));
                // Histograms with the same bounds can always be added.
                let _ = all.add(latency);
            }
        }
        self.last = self.last.max(other.last);
    }

    /// Length of an interval of the timeline.
    pub fn interval(&self) -> Duration {
        self.shape.interval
    }

    /// Statistics of a phase, over all operations.
    pub fn phase(&self, phase: usize) -> RequestStats {
        self.sum(self.stats.get(phase).into_iter().flatten())
    }

    /// Statistics of an operation, over all phases.
    pub fn operation(&self, operation: usize) -> RequestStats {
        self.sum(self.stats.iter().filter_map(|phase| phase.get(operation)))
    }

    /// Statistics of all measured requests.
    pub fn total(&self) -> RequestStats {
        self.sum(self.stats.iter().flatten())
    }

    fn sum<'a>(&self, cells: impl Iterator<Item = &'a RequestStats>) -> RequestStats {
        let mut sum = RequestStats::new(self.shape.longest);
        cells.for_each(|cell| sum.merge(cell));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::{Arrivals, Spacing};
    use crate::http::RequestError;
    use crate::profile::Phase;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn recorder(warm_up: f64, length: f64, rate: f64) -> (Profile, Recorder) {
        let phases = vec![Phase::constant("steady", seconds(length), rate)];
        let profile = Profile { warm_up: seconds(warm_up), phases };
        let shape = RecorderConfig::new(profile.clone(), 1, seconds(10.0));
        (profile, Recorder::new(shape))
    }

    fn sample(due: f64, sent: f64, done: f64) -> Sample {
        let (due, sent, done) = (seconds(due), seconds(sent), seconds(done));
        Sample { operation: 0, due, sent, done, outcome: RequestOutcome::Good(202) }
    }

    fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
        histogram.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Simulates a server that responds in 1 ms, one request at a time, and stalls for a second in the middle of ten.
    #[test]
    fn a_stall_shows_in_latency_but_not_in_service_time() {
        let (profile, mut recorder) = recorder(0.0, 10.0, 100.0);
        let mut free = 0.0;
        for due in Arrivals::new(&profile, Spacing::Uniform, 1).map(|due| due.as_secs_f64()) {
            let sent = f64::max(due, free);
            let stalls = free < 5.0 && sent >= 5.0;
            free = sent + if stalls { 1.0 } else { 0.001 };
            recorder.add(&sample(due, sent, free));
        }
        let total = recorder.total();
        assert_eq!((total.due, total.good), (1_000, 1_000));
        // 100 requests are due during the stall, and some more before the queue is empty again: latencies from 1 s down
        // to 0.
        assert!((quantile(&total.latency, 0.9) - 0.1).abs() < 0.05, "{}", quantile(&total.latency, 0.9));
        assert!((quantile(&total.latency, 0.99) - 0.9).abs() < 0.05, "{}", quantile(&total.latency, 0.99));
        assert!(quantile(&total.service, 0.99) < 0.002, "one request out of 1,000 sees the stall");
        assert!(quantile(&total.service, 1.0) >= 1.0);
    }

    #[test]
    fn no_statistic_includes_the_warm_up() {
        let (_, mut recorder) = recorder(2.0, 4.0, 10.0);
        for (due, latency) in [(0.0, 5.0), (1.999, 5.0), (2.0, 0.1), (5.9, 0.1)] {
            recorder.add(&sample(due, due, due + latency));
        }
        let total = recorder.total();
        assert_eq!((recorder.warm_up.due, total.due), (2, 2));
        assert!(quantile(&total.latency, 1.0) < 0.2);
        assert_eq!(recorder.intervals.iter().map(|slot| slot.due).sum::<u64>(), 2);
        assert_eq!(recorder.intervals.iter().map(|slot| slot.good).sum::<u64>(), 2);
    }

    #[test]
    fn unanswered_requests_count_with_the_maximum_latency() {
        let (_, mut recorder) = recorder(0.0, 4.0, 10.0);
        let failed = |outcome| Sample { outcome, ..sample(1.0, 1.0, 1.0) };
        recorder.add(&failed(RequestOutcome::Failed(RequestError::Timeout)));
        recorder.add(&failed(RequestOutcome::Failed(RequestError::NotSent)));
        recorder.add(&failed(RequestOutcome::Unexpected(503, Some("overloaded".to_owned()))));
        recorder.add(&failed(RequestOutcome::Failed(RequestError::Connect("refused".to_owned()))));
        let total = recorder.total();
        assert_eq!((total.due, total.good, total.failed()), (4, 0, 4));
        assert_eq!((total.latency.len(), total.service.len()), (2, 0));
        assert!(quantile(&total.latency, 0.0) > 9.9);
        let errors: Vec<_> = total.errors.keys().map(String::as_str).collect();
        assert_eq!(errors, ["connect", "not_sent", "status_503", "timeout"]);
        assert_eq!(total.errors["status_503"], (1, "overloaded".to_owned()));
    }

    #[test]
    fn a_response_counts_in_the_second_of_its_arrival() {
        let (_, mut recorder) = recorder(1.0, 4.0, 10.0);
        recorder.add(&sample(1.5, 1.5, 4.2));
        let counts: Vec<_> = recorder.intervals.iter().map(|slot| (slot.due, slot.good)).collect();
        assert_eq!(counts[..4], [(1, 0), (0, 0), (0, 0), (0, 1)]);
        let mut other = recorder.clone();
        other.merge(&recorder);
        assert_eq!((other.total().due, other.intervals[3].good), (2, 2));
    }

    #[test]
    fn a_long_run_has_a_bounded_timeline() {
        let (_, recorder) = recorder(0.0, 86_400.0, 1.0);
        assert_eq!(recorder.interval(), seconds(288.0));
        assert!(recorder.intervals.len() <= MAX_INTERVALS as usize + 2);
    }
}
