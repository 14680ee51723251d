//! The subcommands: each builds what it runs from the configuration, waits, and stops it.
//!
//! `serve` is the life of the daemon. Start: configuration → lock and recovery → listeners → READY → workers and the
//! daemon's own threads. READY never waits for Kafka: accepting while no broker is available is the purpose. Stop:
//! readiness off, requests end → ingest closes after a last flush → workers wait for what is in flight → last checkpoint →
//! threads end. Each phase has a deadline; what is not delivered stays in the log.
//!
//! - `serve`, `drain`, `consume`, `migrate`, `check`: a subcommand each; `daemon`: what runs in `serve`;
//! - `wiring`: how components are built; `shutdown`: the order in which they stop; `process`: what comes before both;
//!   `traces`: the export of spans;
//! - `user_service`, `auth`, `hooks`, `daemon_admin`: what ties components together; `problems`: what is wrong with them;
//!   `log_gauges`, `log_metrics`: what is shown of the log; `overview`, `recorder`: the status page; `startup_log`: the
//!   configuration in a log line.

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
pub use drain::{drain, show};
pub use failure::{EXIT_USAGE, Failure};
pub use migrate::migrate;
pub use output::print;
pub use serve::serve;
pub use shutdown::longest_stop;
pub use signals::{hold_hangup, ignore_user_signals};
