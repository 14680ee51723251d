//! The subcommands: each builds what it runs from the configuration, waits, and stops it.
//!
//! `serve` is the life of the daemon. Start: configuration → lock and recovery → listeners → READY → workers and the
//! daemon's own threads. READY never waits for Kafka: accepting while no broker is available is the purpose. Stop:
//! readiness off, requests end → ingest closes after a last flush → workers wait for what is in flight → last checkpoint →
//! threads end. Each phase has a deadline; what is not delivered stays in the log.
//!
//! - `serve`, `drain`, `consume`, `migrate`: a subcommand each; `daemon`: what runs in `serve`;
//! - `wiring`: how components are built; `shutdown`: the order in which they stop; `process`: what comes before both;
//!   `traces`: the export of spans;
//! - `service`, `auth`, `hooks`, `backend`: what ties components together; `problems`: what is wrong with them;
//!   `log_gauges`, `log_metrics`: what is shown of the log; `overview`, `recorder`: the status page; `first_line`: the
//!   configuration in a log line.

mod age;
mod auth;
mod backend;
mod banner;
mod clock;
mod consume;
mod daemon;
mod dependencies;
mod descriptors;
mod drain;
mod earlier;
mod endpoints;
mod expiry;
mod failure;
mod first_line;
mod hooks;
mod last_failure;
mod listeners;
mod log_gauges;
mod log_metrics;
mod migrate;
mod open;
mod output;
mod overview;
mod problems;
mod process;
mod recorder;
mod reload;
mod serve;
mod service;
mod shutdown;
mod signals;
mod traces;
mod watchdog;
mod wiring;

use std::io;

use crate::config::Config;
use crate::http::Tls;
use crate::wal::{OpenError, layout};

pub use crate::kafka::OffsetSpan as ReplaySpan;
pub use consume::{consume, replay};
pub use drain::{drain, show};
pub use failure::{EXIT_USAGE, Failure};
pub use migrate::migrate;
pub use output::print;
pub use serve::serve;
pub use shutdown::longest_stop;
pub use signals::{hold_hangup, ignore_user_signals};

/// Prints the effective configuration, secrets masked. Reads the files of keys and certificates, and looks at the log's
/// directory, as `serve` would. The directory's owner is not compared: this command is often run by another user.
pub fn check(config: &Config) -> Result<(), Failure> {
    let mut mistakes = config.wal.key_mistakes();
    mistakes.extend(Tls::mistakes(&config.server));
    if !mistakes.is_empty() {
        return Err(Failure::Configuration(mistakes.into()));
    }
    // A directory that this user may not read is no mistake.
    if let Err(error @ OpenError::Unsuitable { .. }) = layout::check_places(&config.wal.dir) {
        return Err(Failure::Directory(error.to_string()));
    }
    let shown = config.shown().map_err(io::Error::other).map_err(Failure::system("configuration"))?;
    output::print(shown)
}
