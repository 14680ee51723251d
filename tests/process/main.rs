//! The program as a process: exit codes, signals, reload, metrics, log lines, terminal, and output that cannot be written.
//! And `wal-tools status --watch`, which looks at it.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

mod configuration;
mod exit_codes;
mod log_lines;
mod metrics;
mod output;
mod profiles;
mod reload;
mod signals;
mod terminal;
mod watch;

use std::time::Duration;

/// Above what any step of a test takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);
