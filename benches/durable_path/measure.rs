//! Pairs of runs, their medians, and the table of results.

use std::process::ExitCode;
use std::time::Duration;

/// A part of a benchmark: its name, and its function.
pub type Part = (&'static str, fn() -> Vec<Outcome>);

/// One comparison, measured in pairs.
pub struct Outcome {
    /// Title of the comparison.
    pub what: &'static str,
    /// One ratio per pair.
    pub pairs: Vec<f64>,
    /// Limit of the median.
    pub limit: Limit,
    /// Figures of both sides. They are valid only for this machine at this time.
    pub figures: String,
}

/// Limit of a median.
#[derive(Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// Measured for information.
    None,
}

impl Outcome {
    /// Whether the median keeps within the limit.
    pub fn is_met(&self) -> bool {
        let median = median(&self.pairs);
        match self.limit {
            Limit::AtLeast(least) => median >= least,
            Limit::AtMost(most) => median <= most,
            Limit::None => true,
        }
    }
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

/// The median of some times, in microseconds.
pub fn median_us(times: &[Duration]) -> f64 {
    let times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    median(&times)
}

/// Prints the table to standard output.
fn print(outcomes: &[Outcome]) {
    println!(
        "{:<62} {:>7} {:>7} {:>7}  {:<8} {:<6} figures of this run",
        "", "median", "min", "max", "limit", ""
    );
    for outcome in outcomes {
        let sorted = sorted(&outcome.pairs);
        let limit = match outcome.limit {
            Limit::AtLeast(least) => format!(">= {least}"),
            Limit::AtMost(most) => format!("<= {most}"),
            Limit::None => String::new(),
        };
        let verdict = match outcome.limit {
            Limit::None => "",
            _ if outcome.is_met() => "met",
            _ => "MISSED",
        };
        let (what, middle, figures) = (outcome.what, median(&sorted), &outcome.figures);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        println!("{what:<62} {middle:>7.3} {min:>7.3} {max:>7.3}  {limit:<8} {verdict:<6} {figures}");
    }
}

/// The arguments, without `--bench`, which cargo adds.
pub fn words() -> Vec<String> {
    std::env::args().skip(1).filter(|word| word != "--bench").collect()
}

/// Measures the named parts, or all, and prints the table. Fails if a median misses its limit.
pub fn run(parts: &[Part], words: &[String]) -> ExitCode {
    if let Some(word) = words.iter().find(|word| parts.iter().all(|(name, _)| name != word)) {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        eprintln!("unknown part {word}; the parts are {}", names.join(", "));
        return ExitCode::from(64);
    }
    let mut outcomes = Vec::new();
    for (name, measure) in parts {
        if words.is_empty() || words.iter().any(|word| word == name) {
            eprintln!("measuring {name} …");
            outcomes.extend(measure());
        }
    }
    print(&outcomes);
    if outcomes.iter().all(Outcome::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
