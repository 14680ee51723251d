//! The due times of requests. They follow from the profile and the seed only, not from the target's responses.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::profile::{Phase, Profile};

/// The intervals between requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Equal intervals
    #[default]
    Uniform,
    /// Random intervals, as of many independent clients
    Poisson,
}

/// The due times of requests, in order.
///
/// A request is due whenever the profile's cumulative number of requests reaches the next mark.
pub struct Arrivals {
    parts: Vec<Phase>,
    part: usize,
    /// Start of the current part in seconds.
    start: f64,
    /// Requests of the current part before the next one. A fraction with random intervals.
    requests: f64,
    spacing: Spacing,
    random: fastrand::Rng,
}

impl Arrivals {
    /// The same profile, spacing and seed give the same times.
    pub fn new(profile: &Profile, spacing: Spacing, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mark = match spacing {
            Spacing::Uniform => 0.0,
            Spacing::Poisson => exponential_gap(&mut random),
        };
        Self { parts: profile.all_phases(), part: 0, start: 0.0, requests: mark, spacing, random }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let part = self.parts.get(self.part)?;
            let requests = part.requests();
            if self.requests < requests {
                let due = self.start + due_offset(part, self.requests);
                self.requests += match self.spacing {
                    Spacing::Uniform => 1.0,
                    Spacing::Poisson => exponential_gap(&mut self.random),
                };
                return Some(Duration::from_secs_f64(due));
            }
            self.requests -= requests;
            self.start += part.length.as_secs_f64();
            self.part += 1;
        }
    }
}

/// Seconds after the start of a part at which `mark` of its requests have become due.
///
/// The solution of `from·t + (to − from)/(2·length)·t² = mark`, in a form without cancellation.
fn due_offset(part: &Phase, mark: f64) -> f64 {
    let growth = (part.to - part.from) / part.length.as_secs_f64();
    let root = (part.from * part.from + 2.0 * growth * mark).max(0.0).sqrt();
    if mark <= 0.0 { 0.0 } else { 2.0 * mark / (part.from + root) }
}

/// An interval of a Poisson process with one request per unit.
fn exponential_gap(random: &mut fastrand::Rng) -> f64 {
    // 1 − f64() is never 0, whose logarithm is infinite.
    -(1.0 - random.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn profile(phases: Vec<Phase>) -> Profile {
        Profile { warm_up: Duration::ZERO, phases }
    }

    fn due(profile: &Profile, spacing: Spacing) -> Vec<f64> {
        Arrivals::new(profile, spacing, 7).map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn a_constant_rate_has_equal_intervals_across_phases() {
        let two = profile(vec![Phase::constant("a", SECOND, 4.0), Phase::constant("b", SECOND, 2.0)]);
        assert_eq!(due(&two, Spacing::Uniform), [0.0, 0.25, 0.5, 0.75, 1.0, 1.5]);
    }

    #[test]
    fn the_warm_up_uses_the_first_rate() {
        let with = Profile { warm_up: SECOND, ..profile(vec![Phase::constant("a", SECOND, 2.0)]) };
        assert_eq!(due(&with, Spacing::Uniform), [0.0, 0.5, 1.0, 1.5]);
        let phases: Vec<_> =
            [0.0, 0.999, 1.0, 2.0].map(Duration::from_secs_f64).map(|at| with.phase_at(at)).into();
        assert_eq!(phases, [None, None, Some(0), Some(0)]);
    }

    #[test]
    fn a_ramp_follows_its_rates() {
        let ramp = Phase { name: "ramp".to_owned(), length: 10 * SECOND, from: 0.0, to: 200.0 };
        let times = due(&profile(vec![ramp]), Spacing::Uniform);
        assert_eq!(times.len(), 1_000);
        // N(t) = 10 t²: a quarter of all requests are due in the first half.
        assert_eq!(times.iter().filter(|at| **at < 5.0).count(), 250);
        assert!(times.is_sorted());
        let falling = Phase { name: "fall".to_owned(), length: 10 * SECOND, from: 200.0, to: 0.0 };
        let times = due(&profile(vec![falling]), Spacing::Uniform);
        assert_eq!((times.len(), times.iter().filter(|at| **at < 5.0).count()), (1_000, 750));
    }

    #[test]
    fn random_intervals_keep_the_rate_and_repeat_with_the_seed() {
        let constant = profile(vec![Phase::constant("a", 100 * SECOND, 100.0)]);
        let times = due(&constant, Spacing::Poisson);
        // Ten standard deviations of a Poisson count of 10,000.
        assert!((9_000..11_000).contains(&times.len()), "{}", times.len());
        assert_eq!(times, due(&constant, Spacing::Poisson));
        let distances: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let long = distances.iter().filter(|distance| **distance > 0.02).count() as f64;
        // In a Poisson process e⁻² of the intervals exceed twice the mean; with equal intervals none does.
        assert!((long / distances.len() as f64 - (-2.0_f64).exp()).abs() < 0.03);
    }
}
