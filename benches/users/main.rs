//! The cost of logins and of tokens, as ratios within one run (see `durable_path`). Both sides of a comparison run
//! alternately. Each pair of runs gives one ratio, and the median of these ratios is compared with the limit. Also the
//! service levels of the user service at the highest rate, with real Kafka, Redis and MariaDB on the same machine.
//!
//! ```text
//! cargo bench --bench users                  all parts
//! cargo bench --bench users -- token         parts: password token service anonymous
//! ```

// A failed step of a measurement ends the program with its message. No caller could handle the error.
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
