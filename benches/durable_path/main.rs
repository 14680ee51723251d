//! The cost of durability, as ratios within one run. Machines differ and are noisy, so both sides of a comparison run
//! alternately. Each pair of runs gives one ratio, and the median of these ratios is compared with the limit.
//!
//! ```text
//! cargo bench --bench durable_path                  all parts
//! cargo bench --bench durable_path -- ack lone      parts: ack keyed encrypted traced limits lone drain workers sustained start
//! FOREBAY_BENCH_OTHER=PATH cargo bench --bench durable_path -- builds      this build and another one
//! ```
//!
//! The daemon and the server that it is compared with are separate processes under load from this one: the real
//! binary, and this program started again as [`no_log_server`]. The drain and the producer that it is compared with
//! both run in this process. The exit code is 1 if a median misses its limit. The drain needs Kafka: that of the tests
//! (`tests/services/fetch`), or the one in `FOREBAY_TEST_KAFKA`.

// A failed step of a measurement ends the program with its message. No caller could handle the error.
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
