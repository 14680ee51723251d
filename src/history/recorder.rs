//! What is kept of the readings: the last seconds for rates, and one point of every step for an hour.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::units::Timestamp;

use super::sample::{Flushes, MetricsSample, Rates};
use super::{CAPACITY, STEP};

/// Readings for the rates of the moment: the last and those of the five seconds before it.
const RECENT: usize = 6;
/// A trend needs points over at least this time: a backlog goes up and down with each batch.
const MIN_TREND_SPAN: Duration = Duration::from_secs(10);
/// And over no more than this, so that it tells what happens now.
const MAX_TREND_SPAN: Duration = Duration::from_secs(60);

/// A change below this, in records per second, counts as no change: three records per minute.
const STEADY_BELOW: f64 = 0.05;

/// One step of the last hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The end of the step.
    pub at: Instant,
    /// Records accepted a second.
    pub accepted: f32,
    /// Records delivered a second.
    pub delivered: f32,
    /// Records that waited at the end of the step.
    pub backlog: u64,
    /// Age of the oldest, in seconds, at the end of the step.
    pub oldest_age: f32,
    /// None where the log was not flushed.
    pub flush_seconds: Option<f32>,
    /// The most problems that lasted at a time.
    pub problems: u16,
}

/// Where the backlog is going.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trend {
    /// By so many records a second.
    Growing(f64),
    /// By so many records a second; at this pace it is empty after that time.
    Falling(f64, Duration),
    /// It is empty, or stays as large as it is.
    Steady,
}

/// What there is to show, all of one moment.
#[derive(Clone, Debug)]
pub struct HistoryView {
    /// The last reading.
    pub now: MetricsSample,
    /// When it was taken, by the clock on the wall.
    pub taken_at: Timestamp,
    /// Over the last seconds; none before the second reading.
    pub rates: Option<Rates>,
    /// None before there are points of some seconds.
    pub trend: Option<Trend>,
    /// The last hour, oldest first.
    pub points: Vec<Point>,
}

/// Records readings. It is bounded, and nobody waits for it for longer than a copy takes.
#[derive(Default)]
pub struct History(Mutex<State>);

#[derive(Default)]
struct State {
    recent: VecDeque<MetricsSample>,
    /// The reading at the end of the last step.
    base: Option<MetricsSample>,
    /// The most problems since then.
    problems: usize,
    points: VecDeque<Point>,
    taken_at: Timestamp,
}

impl History {
    /// Records what the daemon's figures are. Called about once a second.
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

    /// What there is to show. None before the first reading.
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
        // The conversion refuses what no duration can hold.
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

    /// A second after a second, from a start.
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
    fn a_point_has_the_rates_of_its_step_and_what_happened_in_it() {
        let view = recorded(11, |second| second * 100, |second| second * 40);
        let point = view.points[0];
        assert_eq!((point.accepted, point.delivered, point.backlog), (100.0, 40.0, 300));
        assert_eq!(point.flush_seconds, Some(0.01));
        assert_eq!((point.problems, view.points[1].problems), (1, 0), "it lasted a second");
        assert_eq!(view.points.len(), 2, "of eleven seconds there are two whole steps");
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
