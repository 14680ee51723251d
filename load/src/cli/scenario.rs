//! The scenarios: each is a profile with its own defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::options::CommonOptions;
use super::value;
use crate::profile::{Phase, Profile};

#[derive(Subcommand)]
pub enum Command {
    /// One connection at a low rate: the latency of a target without load
    Baseline(Steady),
    /// Many connections at a constant rate: the latency under usual load
    #[command(mut_arg("rate", |rate| rate.default_value("1000")))]
    ConcurrentBaseline(Steady),
    /// A rate that grows linearly: where the target stops keeping up
    Ramp(Ramp),
    /// A usual rate, a sudden peak, the usual rate again: whether the target recovers
    Spike(Spike),
    /// A constant rate for a long time, in four quarters: whether the target gets slower
    #[command(mut_arg("rate", |rate| rate.default_value("300")))]
    #[command(mut_arg("duration", |duration| duration.default_value("1h")))]
    Soak(Steady),
    /// Users' operations that need the database, at one, two and four times the rate: the database pool
    DatabasePool(Pool),
    /// Print completions for a shell
    Completions {
        /// Name of the shell
        shell: cli_support::Shell,
    },
    /// Print the manual pages, or write each to a file
    Man {
        /// Directory for one file per page, such as forebay-load-ramp.1
        directory: Option<PathBuf>,
    },
}

/// A constant rate. The defaults are those of `baseline`; the other scenarios replace them.
#[derive(Args)]
pub struct Steady {
    /// Requests per second
    #[arg(long, value_name = "N", default_value = "20", value_parser = value::rate)]
    rate: f64,
    /// Length of the measurement
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = value::length)]
    duration: Duration,
    #[command(flatten)]
    common: CommonOptions,
}

#[derive(Args)]
pub struct Ramp {
    /// Requests per second at the start
    #[arg(long, value_name = "N", default_value = "100", value_parser = value::rate)]
    from: f64,
    /// Requests per second at the end
    #[arg(long, value_name = "N", default_value = "5000", value_parser = value::rate)]
    to: f64,
    /// Number of phases of equal length, each with its own statistics
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    steps: u32,
    /// Length of the measurement
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = value::length)]
    duration: Duration,
    #[command(flatten)]
    common: CommonOptions,
}

#[derive(Args)]
pub struct Spike {
    /// Requests per second before and after the peak
    #[arg(long, value_name = "N", default_value = "200", value_parser = value::rate)]
    rate: f64,
    /// Requests per second of the peak
    #[arg(long, value_name = "N", default_value = "4000", value_parser = value::rate)]
    peak: f64,
    /// Length of the time before the peak, and of the time after it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value::length)]
    duration: Duration,
    /// Length of the peak
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::length)]
    peak_duration: Duration,
    #[command(flatten)]
    common: CommonOptions,
}

#[derive(Args)]
pub struct Pool {
    /// Requests per second of the first phase
    #[arg(long, value_name = "N", default_value = "50", value_parser = value::rate)]
    rate: f64,
    /// Length of the measurement
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = value::length)]
    duration: Duration,
    #[command(flatten)]
    common: CommonOptions,
}

/// A scenario with its options.
pub struct ScenarioPlan<'a> {
    /// Name of the scenario.
    pub name: &'static str,
    /// Rates over time.
    pub profile: Profile,
    /// Maximum number of requests in progress, without `--connections`.
    pub connections: u32,
    /// The mix of users' operations, if the scenario uses them.
    pub mix: Option<&'static str>,
    /// The common options.
    pub common: &'a CommonOptions,
}

impl Command {
    /// The scenario. `None` for commands that print completions or manual pages.
    pub fn scenario(&self) -> Option<ScenarioPlan<'_>> {
        match self {
            Self::Baseline(Steady { rate, duration, common }) => {
                Some(planned("baseline", vec![Phase::constant("steady", *duration, *rate)], 1, common))
            }
            Self::ConcurrentBaseline(Steady { rate, duration, common }) => {
                let phases = vec![Phase::constant("steady", *duration, *rate)];
                Some(planned("concurrent-baseline", phases, 64, common))
            }
            Self::Ramp(ramp) => Some(planned("ramp", ramp.phases(), 256, &ramp.common)),
            Self::Spike(Spike { rate, peak, duration, peak_duration, common }) => {
                let phases = vec![
                    Phase::constant("before", *duration, *rate),
                    Phase::constant("peak", *peak_duration, *peak),
                    Phase::constant("after", *duration, *rate),
                ];
                Some(planned("spike", phases, 512, common))
            }
            Self::Soak(Steady { rate, duration, common }) => {
                let quarter = |index: u32| Phase::constant(&format!("quarter-{index}"), *duration / 4, *rate);
                Some(planned("soak", (1..=4).map(quarter).collect(), 64, common))
            }
            Self::DatabasePool(Pool { rate, duration, common }) => {
                let step = |factor: u32| {
                    Phase::constant(&format!("rate-x{factor}"), *duration / 3, *rate * f64::from(factor))
                };
                let planned = planned("database-pool", [1, 2, 4].map(step).into(), 128, common);
                Some(ScenarioPlan { mix: Some("register=2,login=2,read=2,lookup=10,list=4"), ..planned })
            }
            Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

impl Ramp {
    fn phases(&self) -> Vec<Phase> {
        let at = |step: u32| self.from + (self.to - self.from) * f64::from(step) / f64::from(self.steps);
        let phase = |step: u32| Phase {
            name: format!("step-{}", step + 1),
            length: self.duration / self.steps,
            from: at(step),
            to: at(step + 1),
        };
        (0..self.steps).map(phase).collect()
    }
}

fn planned<'a>(
    name: &'static str,
    phases: Vec<Phase>,
    connections: u32,
    common: &'a CommonOptions,
) -> ScenarioPlan<'a> {
    let profile = Profile { warm_up: common.course.warm_up, phases };
    ScenarioPlan { name, profile, connections, mix: None, common }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    #[test]
    fn scenarios_of_a_constant_rate_have_defaults_of_their_own() {
        let defaults = |name: &str| {
            let cli = Cli::parse_from(["forebay-load", name]);
            let phases = cli.command.scenario().unwrap().profile.phases;
            (phases[0].from, phases.iter().map(|phase| phase.length).sum::<Duration>().as_secs())
        };
        assert_eq!(defaults("baseline"), (20.0, 60));
        assert_eq!(defaults("concurrent-baseline"), (1000.0, 60));
        assert_eq!(defaults("soak"), (300.0, 3600));
    }
}
