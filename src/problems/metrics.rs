//! Gauges of the list of problems. Every code and dependency has a series from the start.

use prometheus::{Error, IntGaugeVec};

use crate::metrics::Registry;

use super::code::Code;

/// Dependencies that have a series.
pub(super) const DEPENDENCIES: [&str; 3] = ["kafka", "database", "redis"];

/// The registered gauges.
pub struct ProblemMetrics {
    problem: IntGaugeVec,
    dependency_up: IntGaugeVec,
}

impl ProblemMetrics {
    /// Registers the gauges. Fails only if a metric of the same name exists.
    pub fn register(r: &Registry) -> Result<Self, Error> {
        let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let this = Self {
            problem: r.gauges(
                "forebay_problem",
                "1 while the problem with this code lasts. Worry at 1: the section of docs/runbook.md with \
                 this title says what to do.",
                "code",
                &codes,
            )?,
            dependency_up: r.gauges(
                "forebay_dependency_up",
                "1 while the dependency does what the daemon needs of it, 0 otherwise. Worry at 0 for \
                 minutes.",
                "dependency",
                &DEPENDENCIES,
            )?,
        };
        this.update(|_| false, |_| true);
        Ok(this)
    }

    pub(super) fn update(&self, lasts: impl Fn(Code) -> bool, is_up: impl Fn(&str) -> bool) {
        for code in Code::ALL {
            self.problem.with_label_values(&[code.as_str()]).set(lasts(*code).into());
        }
        for dependency in DEPENDENCIES {
            self.dependency_up.with_label_values(&[dependency]).set(is_up(dependency).into());
        }
    }
}
