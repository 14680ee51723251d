//! What durability costs, as ratios within one run: machines differ and are noisy, so both sides of a comparison take
//! turns, each pair of turns gives one ratio, and the median of these is judged.
//!
//! ```text
//! cargo bench --bench durable_path                  all of it
//! cargo bench --bench durable_path -- ack lone      parts: ack keyed encrypted traced limits lone drain workers sustained start
//! FOREBAY_BENCH_OTHER=PATH cargo bench --bench durable_path -- builds      this build and another one
//! ```
//!
//! Daemon and comparison are processes of their own, loaded from this one: the real binary, and this program started
//! again as [`no_log_server`]. The drain and the producer it is compared with both run in this process. Ends with 1
//! when a median misses its limit. The drain needs a Kafka: the tests' own (`tests/services/fetch`), or the one that
//! `FOREBAY_TEST_KAFKA` names.

// A failed step of a measurement has nobody to report to: it says what it was and ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ack;
mod builds;
mod client;
mod drain;
mod limits;
mod measure;
mod no_log_server;
mod producer;
mod records;
mod server;
mod single_connection;
mod start;
mod sustained;
mod waiting_producer;

use std::process::ExitCode;

use measure::Part;

const BENCHMARKS: [Part; 11] = [
    ("ack", ack::measure),
    ("keyed", ack::keyed),
    ("encrypted", ack::encrypted),
    ("traced", ack::traced),
    ("limits", limits::measure),
    ("lone", single_connection::measure),
    ("drain", drain::measure),
    ("sustained", sustained::measure),
    ("workers", drain::workers),
    ("start", start::measure),
    ("builds", builds::measure),
];

fn main() -> ExitCode {
    let words = measure::words();
    if let [first, rest @ ..] = &words[..]
        && first == no_log_server::COMMAND
    {
        no_log_server::serve(rest);
        return ExitCode::SUCCESS;
    }
    measure::run(&BENCHMARKS, &words)
}
