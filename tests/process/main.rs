//! The program as a process: exit codes, signals, reload, metrics, log lines, terminal, and output that cannot be
//! written. Also `wal-tools status --watch`, which watches the process.
// clippy.toml allows this in test functions; their helpers are no different.
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

/// Longer than any step of a test, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);
