//! What logging in and showing a token cost, as ratios within one run (see `durable_path`): both sides of a comparison
//! take turns, each pair of turns gives one ratio, and the median of these is judged. And the service levels of the user
//! service at the highest rate, on real parts beside it.
//!
//! ```text
//! cargo bench --bench users                  all of it
//! cargo bench --bench users -- token         parts: password token service anonymous
//! ```

// A failed step of a measurement has nobody to report to: it says what it was and ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod anonymous;
#[path = "../durable_path/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../durable_path/measure.rs"]
#[allow(dead_code)]
mod measure;
mod password;
mod service;
mod services;
mod token;

use std::process::ExitCode;

use measure::Part;

const BENCHMARKS: [Part; 4] = [
    ("password", password::measure),
    ("token", token::measure),
    ("service", service::measure),
    ("anonymous", anonymous::measure),
];

fn main() -> ExitCode {
    measure::run(&BENCHMARKS, &measure::words())
}
