//! The rate of a run over time: a warm-up, then phases whose rate is constant or changes linearly.

use std::time::Duration;

/// A part of a run with figures of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name in reports and service levels.
    pub name: String,
    /// How long requests of this phase become due.
    pub length: Duration,
    /// Requests per second at its start.
    pub from: f64,
    /// Requests per second at its end.
    pub to: f64,
}

impl Phase {
    /// A phase with one rate.
    pub fn constant(name: &str, length: Duration, rate: f64) -> Self {
        Self { name: name.to_owned(), length, from: rate, to: rate }
    }

    /// How many requests become due in it.
    pub fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }
}

/// The whole course of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Not in the figures. Its rate is that with which the first phase begins.
    pub warm_up: Duration,
    /// What is measured, in order.
    pub phases: Vec<Phase>,
}

impl Profile {
    /// The warm-up and the phases, in order.
    pub fn all_phases(&self) -> Vec<Phase> {
        let rate = self.phases.first().map_or(0.0, |phase| phase.from);
        let warm_up = Phase::constant("warm-up", self.warm_up, rate);
        std::iter::once(warm_up).chain(self.phases.iter().cloned()).collect()
    }

    /// Length of what is measured.
    pub fn measured(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// Length of the whole.
    pub fn length(&self) -> Duration {
        self.warm_up + self.measured()
    }

    /// Phase of a request that is due at this time since the start of the run, and `None` for the warm-up.
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
