//! Rates and trend from samples of one run of the daemon.
//!
//! Each response of the daemon contains its counters and its clock (`uptime_seconds`). The duration of a request
//! therefore does not affect the rates. Counters and clock restart with the daemon, so samples of different runs are
//! never compared.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

/// Retained samples, enough for the sparklines.
const MAX_SAMPLES: usize = 40;
/// Period of the trend, in seconds. If the last two samples are further apart, the trend uses these two.
const TREND_SECONDS: f64 = 30.0;

/// Members of one response that the rates need.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    started_at: String,
    uptime: f64,
    accepted: u64,
    delivered: u64,
    backlog: u64,
}

/// Rates and trend from two or more samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StatusRates {
    /// Records per second since the previous sample. `None` at the first sample.
    pub accepted_per_second: Option<f64>,
    /// Records per second since the previous sample. `None` at the first sample.
    pub delivered_per_second: Option<f64>,
    /// Records per second over the last 30 seconds. Negative while the backlog falls.
    pub backlog_growth_per_second: Option<f64>,
    /// Time until the backlog is empty at that rate. `None` unless the backlog falls.
    pub seconds_to_empty: Option<f64>,
    /// Whether the daemon was restarted since the previous sample.
    pub restarted: bool,
}

/// The samples of the current run of the daemon.
#[derive(Default)]
pub struct SampleWindow {
    samples: VecDeque<Sample>,
    /// The last sample, even if it is no longer in `samples`.
    last: Option<Sample>,
}

impl Sample {
    /// Returns `None` for a document without counters: one from the files, or from an older daemon.
    fn of(document: &Value) -> Option<Self> {
        Some(Self {
            started_at: document["started_at"].as_str()?.to_owned(),
            uptime: document["uptime_seconds"].as_f64()?,
            accepted: document["accepted_total"].as_u64()?,
            delivered: document["delivered_total"].as_u64()?,
            backlog: document["backlog"].as_u64()?,
        })
    }

    fn is_after_restart(&self, last: &Self) -> bool {
        self.started_at != last.started_at
            || self.uptime < last.uptime
            || self.accepted < last.accepted
            || self.delivered < last.delivered
    }
}

impl SampleWindow {
    /// Adds a sample, and returns the rates.
    pub fn add(&mut self, document: &Value) -> StatusRates {
        let Some(sample) = Sample::of(document) else {
            self.samples.clear();
            return StatusRates::default();
        };
        let restarted = self.last.replace(sample.clone()).is_some_and(|last| sample.is_after_restart(&last));
        if restarted {
            self.samples.clear();
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        StatusRates { restarted, ..self.pace().unwrap_or_default() }
    }

    fn pace(&self) -> Option<StatusRates> {
        let last = self.samples.back()?;
        let [accepted, delivered] =
            [&self.rates(|sample| sample.accepted), &self.rates(|sample| sample.delivered)]
                .map(|rates| rates.last().copied());
        let growth = self.growth();
        let falls = growth.filter(|growth| *growth < 0.0 && last.backlog > 0);
        Some(StatusRates {
            accepted_per_second: accepted,
            delivered_per_second: delivered,
            backlog_growth_per_second: growth,
            seconds_to_empty: falls.map(|growth| last.backlog as f64 / -growth),
            restarted: false,
        })
    }

    fn growth(&self) -> Option<f64> {
        let last = self.samples.back()?;
        let earlier = self.samples.iter().rev().skip(1);
        let within = |sample: &&Sample| last.uptime - sample.uptime <= TREND_SECONDS;
        let first = earlier.clone().take_while(within).last().or_else(|| earlier.clone().next())?;
        per_second(last.backlog as f64 - first.backlog as f64, last.uptime - first.uptime)
    }

    /// Returns the rate of a counter between consecutive samples, oldest first.
    fn rates(&self, counter: impl Fn(&Sample) -> u64) -> Vec<f64> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs
            .filter_map(|(a, b)| {
                per_second(counter(b).saturating_sub(counter(a)) as f64, b.uptime - a.uptime)
            })
            .collect()
    }

    /// Records accepted per second, for a sparkline.
    pub fn accepted(&self) -> Vec<f64> {
        self.rates(|sample| sample.accepted)
    }

    /// Records delivered per second, for a sparkline.
    pub fn delivered(&self) -> Vec<f64> {
        self.rates(|sample| sample.delivered)
    }

    /// The backlog at each sample, for a sparkline.
    pub fn backlog(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.backlog as f64).collect()
    }
}

/// Returns `None` if no time has passed.
fn per_second(change: f64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| change / seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(started_at: &str, uptime: f64, accepted: u64, delivered: u64) -> Value {
        json!({
            "started_at": started_at,
            "uptime_seconds": uptime,
            "accepted_total": accepted,
            "delivered_total": delivered,
            "backlog": accepted - delivered,
        })
    }

    #[test]
    fn two_samples_give_rates_and_the_time_to_empty() {
        let mut recent = SampleWindow::default();
        assert_eq!(
            recent.add(&answer("a", 1.0, 100, 0)),
            StatusRates::default(),
            "one sample gives no rates"
        );
        let pace = recent.add(&answer("a", 3.0, 120, 60));
        assert_eq!((pace.accepted_per_second, pace.delivered_per_second), (Some(10.0), Some(30.0)));
        assert_eq!((pace.backlog_growth_per_second, pace.seconds_to_empty), (Some(-20.0), Some(3.0)));
        assert_eq!(recent.accepted(), [10.0]);
        assert_eq!(recent.backlog(), [100.0, 60.0]);
    }

    #[test]
    fn a_growing_or_empty_backlog_has_no_time_to_empty() {
        let mut recent = SampleWindow::default();
        recent.add(&answer("a", 1.0, 10, 0));
        assert_eq!(recent.add(&answer("a", 2.0, 20, 0)).seconds_to_empty, None);
        let mut recent = SampleWindow::default();
        recent.add(&answer("a", 1.0, 10, 0));
        let empty = recent.add(&answer("a", 2.0, 10, 10));
        assert_eq!((empty.backlog_growth_per_second, empty.seconds_to_empty), (Some(-10.0), None));
    }

    #[test]
    fn two_samples_at_the_same_time_give_no_rates() {
        let mut recent = SampleWindow::default();
        recent.add(&answer("a", 1.0, 10, 0));
        assert_eq!(recent.add(&answer("a", 1.0, 20, 0)), StatusRates::default());
    }

    #[test]
    fn counters_of_two_runs_are_not_compared() {
        let mut recent = SampleWindow::default();
        recent.add(&answer("a", 50.0, 1_000, 10));
        // The counters are higher than before. Only the start time shows that this is another run.
        let pace = recent.add(&answer("b", 60.0, 2_000, 20));
        assert_eq!(pace, StatusRates { restarted: true, ..StatusRates::default() });
        let pace = recent.add(&answer("b", 61.0, 2_005, 20));
        assert_eq!((pace.accepted_per_second, pace.restarted), (Some(5.0), false));
    }

    #[test]
    fn files_have_no_rates() {
        let mut recent = SampleWindow::default();
        recent.add(&answer("a", 1.0, 10, 0));
        assert_eq!(recent.add(&json!({"backlog": 3})), StatusRates::default());
        assert_eq!(
            recent.add(&answer("a", 9.0, 10, 0)),
            StatusRates::default(),
            "no rates across a sample of the files"
        );
        recent.add(&json!({"backlog": 3}));
        assert!(
            recent.add(&answer("b", 90.0, 10, 0)).restarted,
            "a restart is detected across a sample of the files"
        );
    }
}
