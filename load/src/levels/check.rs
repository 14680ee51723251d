//! Comparison of a run with its service levels.

use serde::Serialize;

use super::file::{Level, Levels, Scope};
use crate::report::{MeasuredStats, RequestSummary, number};

/// A level and its measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelCheck {
    /// `total`, `operation NAME` or `phase NAME`.
    pub scope: String,
    /// Key of the level in the file.
    pub level: &'static str,
    /// Whether the limit is a `minimum` or a `maximum`.
    pub bound: &'static str,
    /// Limit. Latencies are in milliseconds.
    pub limit: f64,
    /// Measured value. `None` without a measurement, which misses the level.
    pub measured: Option<f64>,
    /// Whether the level is met.
    pub met: bool,
    #[serde(skip)]
    unit: &'static str,
}

impl LevelCheck {
    /// The check as a sentence.
    pub fn text(&self) -> String {
        let Self { scope, level, limit, unit, .. } = self;
        let bound = if self.bound == "minimum" { "at least" } else { "at most" };
        let measured = match self.measured {
            Some(measured) => format!("{}{unit}", number(measured)),
            None => "nothing measured".to_owned(),
        };
        format!("{scope}: {level} {measured}, {bound} {}{unit}", number(*limit))
    }
}

/// Checks each level, in the order of the file.
pub fn check_levels(levels: &Levels, measured: &MeasuredStats) -> Vec<LevelCheck> {
    levels.all.iter().map(|level| check_level(level, stats(&level.scope, measured))).collect()
}

fn stats<'a>(scope: &Scope, measured: &'a MeasuredStats) -> Option<&'a RequestSummary> {
    match scope {
        Scope::Total => Some(&measured.total),
        Scope::Operation(name) => measured.operations.get(name),
        Scope::Phase(name) => {
            measured.phases.iter().find(|phase| phase.name == *name).map(|phase| &phase.stats)
        }
    }
}

fn check_level(level: &Level, stats: Option<&RequestSummary>) -> LevelCheck {
    let measured = stats.and_then(|stats| level.quantity.measured(stats));
    let minimum = level.quantity.is_minimum();
    let met = measured.is_some_and(|value| if minimum { value >= level.limit } else { value <= level.limit });
    let scope = match &level.scope {
        Scope::Total => "total".to_owned(),
        Scope::Operation(name) => format!("operation {name}"),
        Scope::Phase(name) => format!("phase {name}"),
    };
    let bound = if minimum { "minimum" } else { "maximum" };
    LevelCheck {
        scope,
        level: level.key,
        bound,
        limit: level.limit,
        measured,
        met,
        unit: level.quantity.unit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::quantity::LimitedQuantity;

    fn level(key: &str, limit: f64) -> Level {
        let (key, quantity) = LimitedQuantity::KEYS.into_iter().find(|(known, _)| *known == key).unwrap();
        Level { scope: Scope::Total, key, quantity, limit }
    }

    #[test]
    fn a_value_equal_to_the_limit_meets_the_level() {
        let stats = RequestSummary {
            due: 10,
            good: 9,
            error_rate: 0.1,
            achieved_rate: 9.0,
            ..RequestSummary::default()
        };
        let met = |key, limit| check_level(&level(key, limit), Some(&stats)).met;
        assert!(met("error_rate", 0.1) && !met("error_rate", 0.09));
        assert!(met("achieved_rate", 9.0) && !met("achieved_rate", 9.1));
        assert!(met("requests", 9.0) && !met("requests", 10.0));
        assert!(!met("p95", 1e9), "no latency was measured");
        assert!(!check_level(&level("error_rate", 1.0), None).met);
    }

    #[test]
    fn a_check_is_shown_as_a_sentence() {
        let stats = RequestSummary { due: 10, achieved_rate: 9.25, ..RequestSummary::default() };
        let text = |key, limit| check_level(&level(key, limit), Some(&stats)).text();
        assert_eq!(text("achieved_rate", 10.0), "total: achieved_rate 9.25/s, at least 10/s");
        assert_eq!(text("p95", 500.0), "total: p95 nothing measured, at most 500 ms");
    }
}
