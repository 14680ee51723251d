//! The rate of a run over time: a warm-up, then phases with a constant or linearly changing rate.

use std::time::Duration;

/// A part of a run with its own statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Name in reports and service levels.
    pub name: String,
    /// Length: requests become due during this time.
    pub length: Duration,
    /// Requests per second at the start.
    pub from: f64,
    /// Requests per second at the end.
    pub to: f64,
}

impl Phase {
    /// A phase with one rate.
    pub fn constant(name: &str, length: Duration, rate: f64) -> Self {
        Self { name: name.to_owned(), length, from: rate, to: rate }
    }

    /// The number of requests that become due in the phase.
    pub fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }
}

/// The rates of a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Length of the warm-up, which no statistic includes. Its rate is the initial rate of the first phase.
    pub warm_up: Duration,
    /// The measured phases, in order.
    pub phases: Vec<Phase>,
}

impl Profile {
    /// The warm-up and the phases, in order.
    pub fn all_phases(&self) -> Vec<Phase> {
        let rate = self.phases.first().map_or(0.0, |phase| phase.from);
        let warm_up = Phase::constant("warm-up", self.warm_up, rate);
        std::iter::once(warm_up).chain(self.phases.iter().cloned()).collect()
    }

    /// Total length of the measured phases.
    pub fn measured(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// Length of the run, including the warm-up.
    pub fn length(&self) -> Duration {
        self.warm_up + self.measured()
    }

    /// The phase of a request that is due at this time since the start of the run. `None` for the warm-up.
    pub fn phase_at(&self, due: Duration) -> Option<usize> {
        let mut end = self.warm_up;
        if due < end {
            return None;
        }
        for (index, phase) in self.phases.iter().enumerate() {
            end += phase.length;
            if due < end {
                return Some(index);
            }
        }
        self.phases.len().checked_sub(1)
    }
}
