//! What durability costs, as ratios within one run: machines differ and are noisy, so both sides of a comparison take
//! turns, each pair of turns gives one ratio, and the median of these is judged.
//!
//! ```text
//! cargo bench --bench durable_path                  all of it
//! cargo bench --bench durable_path -- ack lone      parts: ack encrypted lone drain start
//! ```
//!
//! Daemon and comparison are processes of their own, loaded from this one: the real binary, and this program started
//! again as [`without_log`]. The drain and the producer it is compared with both run in this process. Ends with 1
//! when a median misses its limit. The drain needs a Kafka: the tests' own (`tests/services/fetch`), or the one that
//! `FOREBAY_TEST_KAFKA` names.

// A failed step of a measurement has nobody to report to: it says what it was and ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ack;
mod client;
mod drain;
mod lone;
mod measure;
mod producer;
mod records;
mod server;
mod start;
mod without_log;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use measure::Outcome;

type Part = (&'static str, fn() -> Vec<Outcome>);

const PARTS: [Part; 5] = [
    ("ack", ack::measure),
    ("encrypted", ack::encrypted),
    ("lone", lone::measure),
    ("drain", drain::measure),
    ("start", start::measure),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // Cargo adds `--bench`.
    let words: Vec<String> = arguments.by_ref().filter(|word| word != "--bench").collect();
    if let [first, address] = &words[..]
        && first == without_log::COMMAND
    {
        without_log::serve(address.parse().expect("host:port"));
        return ExitCode::SUCCESS;
    }
    if let Some(word) = words.iter().find(|word| PARTS.iter().all(|(name, _)| name != word)) {
        eprintln!("there is no part {word}; there are ack, encrypted, lone, drain, start");
        return ExitCode::from(64);
    }
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let mut outcomes = Vec::new();
    for (name, measure) in PARTS {
        if chosen(name) {
            eprintln!("measuring {name} …");
            outcomes.extend(measure());
        }
    }
    measure::print(&outcomes);
    if outcomes.iter().all(Outcome::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
