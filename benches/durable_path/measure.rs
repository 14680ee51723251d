//! Pairs, medians, and the table.

use std::process::ExitCode;
use std::time::Duration;

/// A part of a program, by its name.
pub type Part = (&'static str, fn() -> Vec<Outcome>);

/// One comparison, measured in pairs.
pub struct Outcome {
    /// What was compared.
    pub what: &'static str,
    /// One figure a pair.
    pub pairs: Vec<f64>,
    /// What their median must be.
    pub limit: Limit,
    /// What both sides were by themselves: true for this machine at this hour only.
    pub figures: String,
}

/// What a median is held against.
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

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

/// The median of some times, in microseconds.
pub fn median_us(times: &[Duration]) -> f64 {
    let times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    median(&times)
}

/// The table, on standard output.
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

/// What was typed; cargo adds `--bench`.
pub fn words() -> Vec<String> {
    std::env::args().skip(1).filter(|word| word != "--bench").collect()
}

/// Measures the parts that are named, or all, and prints the table. Fails when a median misses its limit.
pub fn run(parts: &[Part], words: &[String]) -> ExitCode {
    if let Some(word) = words.iter().find(|word| parts.iter().all(|(name, _)| name != word)) {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no part {word}; there are {}", names.join(", "));
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
