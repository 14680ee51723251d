//! Keeps the samples of the last seconds for rates, and one point per step for an hour.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::units::Timestamp;

use super::sample::{Flushes, MetricsSample, Rates};
use super::{CAPACITY, STEP};

/// Number of samples for current rates: the last one and those of the five seconds before it.
const RECENT: usize = 6;
/// Minimum time that a trend covers, because a backlog rises and falls with each batch.
const MIN_TREND_SPAN: Duration = Duration::from_secs(10);
/// Maximum time that a trend covers, so that it describes the present.
const MAX_TREND_SPAN: Duration = Duration::from_secs(60);

/// Changes below this rate, in records per second, count as no change. It equals three records per minute.
const STEADY_BELOW: f64 = 0.05;

/// One step of the last hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// End of the step.
    pub at: Instant,
    /// Records accepted per second.
    pub accepted: f32,
    /// Records delivered per second.
    pub delivered: f32,
    /// Records in the backlog at the end of the step.
    pub backlog: u64,
    /// Age of the oldest record in seconds, at the end of the step.
    pub oldest_age: f32,
    /// Mean duration of a flush in seconds. `None` if the log was not flushed.
    pub flush_seconds: Option<f32>,
    /// Maximum number of problems at the same time.
    pub problems: u16,
}

/// Trend of the backlog.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trend {
    /// It grows by this many records per second.
    Growing(f64),
    /// It falls by this many records per second, and is empty after this time at the current rate.
    Falling(f64, Duration),
    /// It is empty, or its size does not change.
    Steady,
}

/// Data for the status page, all from the same moment.
#[derive(Clone, Debug)]
pub struct HistoryView {
    /// The last sample.
    pub now: MetricsSample,
    /// Wall-clock time of that sample.
    pub taken_at: Timestamp,
    /// Rates over the last seconds. `None` before the second sample.
    pub rates: Option<Rates>,
    /// `None` until the points cover enough time.
    pub trend: Option<Trend>,
    /// Points of the last hour, oldest first.
    pub points: Vec<Point>,
}

/// Records samples in bounded memory. The lock is held no longer than a copy takes.
#[derive(Default)]
pub struct History(Mutex<State>);

#[derive(Default)]
struct State {
    recent: VecDeque<MetricsSample>,
    /// Sample at the end of the last step.
    base: Option<MetricsSample>,
    /// Maximum number of problems since then.
    problems: usize,
    points: VecDeque<Point>,
    taken_at: Timestamp,
}

impl History {
    /// Records a sample. Called about once per second.
    pub fn record(&self, reading: MetricsSample, taken_at: Timestamp) {
        let mut state = self.0.lock();
        state.taken_at = taken_at;
        state.problems = state.problems.max(reading.problems);
        match state.base.take() {
            Some(base) if reading.at.saturating_duration_since(base.at) < STEP => state.base = Some(base),
            base => {
                if let Some(rates) = base.and_then(|base| reading.rates_since(&base)) {
                    let point = Point::new(&reading, &rates, state.problems);
                    bounded_push(&mut state.points, point, CAPACITY);
                }
                state.problems = reading.problems;
                state.base = Some(reading.clone());
            }
        }
        bounded_push(&mut state.recent, reading, RECENT);
    }

    /// The current view. `None` before the first sample.
    pub fn view(&self) -> Option<HistoryView> {
        let state = self.0.lock();
        let now = state.recent.back()?.clone();
        let rates = state.recent.front().and_then(|first| now.rates_since(first));
        let points: Vec<_> = state.points.iter().copied().collect();
        Some(HistoryView { trend: trend(&points, &now), rates, taken_at: state.taken_at, points, now })
    }
}

impl Point {
    fn new(reading: &MetricsSample, rates: &Rates, problems: usize) -> Self {
        Self {
            at: reading.at,
            accepted: rates.accepted as f32,
            delivered: rates.delivered as f32,
            backlog: reading.backlog,
            oldest_age: reading.oldest_age.as_secs_f32(),
            flush_seconds: rates.flushes.map(|Flushes { seconds, .. }| seconds as f32),
            problems: u16::try_from(problems).unwrap_or(u16::MAX),
        }
    }
}

fn bounded_push<T>(ring: &mut VecDeque<T>, new: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(new);
}

fn trend(points: &[Point], now: &MetricsSample) -> Option<Trend> {
    let ago = |point: &&Point| now.at.saturating_duration_since(point.at);
    let earlier = points.iter().find(|point| ago(point) <= MAX_TREND_SPAN)?;
    let seconds = Some(ago(&earlier)).filter(|ago| *ago >= MIN_TREND_SPAN)?.as_secs_f64();
    let growth = (now.backlog as f64 - earlier.backlog as f64) / seconds;
    Some(if growth >= STEADY_BELOW {
        Trend::Growing(growth)
    } else if growth <= -STEADY_BELOW && now.backlog > 0 {
        // The conversion fails for values that exceed `Duration`.
        let empty = Duration::try_from_secs_f64(now.backlog as f64 / -growth).unwrap_or(Duration::MAX);
        Trend::Falling(-growth, empty)
    } else {
        Trend::Steady
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::TopicSample;
    use super::*;

    /// A sample for each second from `start`.
    fn reading(start: Instant, second: u64, accepted: u64, delivered: u64) -> MetricsSample {
        let topic = TopicSample { accepted, delivered, backlog: accepted - delivered };
        MetricsSample {
            at: start + Duration::from_secs(second),
            accepted,
            delivered,
            flushes: accepted / 10,
            flush_seconds: accepted as f64 / 1_000.0,
            backlog: accepted - delivered,
            backlog_bytes: 0,
            oldest_age: Duration::ZERO,
            dead: 0,
            problems: usize::from(second == 3),
            topics: BTreeMap::from([("orders".to_owned(), topic)]),
        }
    }

    fn recorded(seconds: u64, accepted: impl Fn(u64) -> u64, delivered: impl Fn(u64) -> u64) -> HistoryView {
        let (history, start) = (History::default(), Instant::now());
        for second in 0..=seconds {
            let reading = reading(start, second, accepted(second), delivered(second));
            history.record(reading, Timestamp(second * 1_000));
        }
        history.view().unwrap()
    }

    #[test]
    fn a_point_holds_the_rates_and_problems_of_its_step() {
        let view = recorded(11, |second| second * 100, |second| second * 40);
        let point = view.points[0];
        assert_eq!((point.accepted, point.delivered, point.backlog), (100.0, 40.0, 300));
        assert_eq!(point.flush_seconds, Some(0.01));
        assert_eq!((point.problems, view.points[1].problems), (1, 0), "the problem lasted one second");
        assert_eq!(view.points.len(), 2, "eleven seconds hold two whole steps");
        let rates = view.rates.unwrap();
        assert_eq!(rates.topics["orders"].accepted, 100.0);
        let Flushes { seconds, records } = rates.flushes.unwrap();
        assert!((seconds - 0.01).abs() < 1e-9 && records == 10.0, "{seconds}, {records}");
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let view = recorded(5_000, |second| second, |_| 0);
        assert_eq!(view.points.len(), CAPACITY);
        let age = view.now.at - view.points[0].at;
        assert!((3_590..=3_600).contains(&age.as_secs()), "{age:?}");
        assert!(
            size_of::<Point>() <= 56,
            "the memory that docs/operations.md states: {}",
            size_of::<Point>()
        );
    }

    #[test]
    fn only_a_backlog_that_falls_has_a_time_to_empty() {
        assert_eq!(recorded(4, |_| 10, |_| 0).trend, None, "no point yet");
        assert_eq!(recorded(30, |second| second * 2, |_| 0).trend, Some(Trend::Growing(2.0)));
        assert_eq!(recorded(30, |_| 10, |_| 0).trend, Some(Trend::Steady));
        assert_eq!(
            recorded(30, |_| 100, |second| second).trend,
            Some(Trend::Falling(1.0, Duration::from_secs(70)))
        );
        assert_eq!(recorded(30, |_| 20, |second| second.min(20)).trend, Some(Trend::Steady), "it is empty");
    }

    #[test]
    fn one_reading_has_no_rates() {
        let view = recorded(0, |_| 7, |_| 0);
        assert_eq!((view.rates, view.points.len(), view.now.backlog), (None, 0, 7));
        assert!(History::default().view().is_none());
    }
}
