//! The subcommands. Each builds its components from the configuration, waits, and stops them.
//!
//! `serve` runs the daemon:
//!
//! - Start: configuration → lock and recovery → listeners → READY → workers and background threads. READY never waits
//!   for Kafka, because the daemon exists to accept commands while no broker is available.
//! - Stop: readiness off, requests end → ingest closes after a last flush → workers wait for records in flight → last
//!   checkpoint → threads end. Each phase has a deadline. Undelivered records stay in the log.
//!
//! Files:
//!
//! - `serve`, `drain`, `consume`, `migrate`, `check`: one subcommand each; `daemon`: the components of `serve`;
//! - `wiring`: construction of components; `shutdown`: the order in which they stop; `process`: the steps common to all
//!   subcommands; `traces`: the export of spans;
//! - `user_service`, `auth`, `hooks`, `daemon_admin`: connect components; `problems`: reports their problems;
//!   `log_gauges`, `log_metrics`: metrics of the log; `overview`, `recorder`: the status page; `startup_log`: the
//!   configuration as a log line.

mod age;
mod auth;
mod banner;
mod bound_sockets;
mod check;
mod clock_watch;
mod consume;
mod daemon;
mod daemon_admin;
mod dependency_checks;
mod descriptors;
mod drain;
mod failure;
mod hooks;
mod last_failure;
mod listeners;
mod log_gauges;
mod log_metrics;
mod migrate;
mod open_log;
mod output;
mod overview;
mod previous_start;
mod problem_sources;
mod problems;
mod process;
mod recorder;
mod reload;
mod retention;
mod serve;
mod shutdown;
mod signals;
mod startup_log;
mod traces;
mod user_service;
mod watchdog;
mod wiring;

pub use crate::kafka::OffsetSpan as ReplaySpan;
pub use check::{check, check_body, check_connections};
pub use consume::{consume, replay};
pub use drain::{drain, print_backlog};
pub use failure::{EXIT_USAGE, Failure};
pub use migrate::migrate;
pub use output::print;
pub use serve::serve;
pub use shutdown::longest_stop;
pub use signals::{ignore_hangup, ignore_user_signals};
