//! forebay: a durable front for Kafka.
//!
//! A command flows one way: `http` parses it, the schema of its kind decides whether it may enter, `ingest`
//! commits it, `wal` keeps it, `drain` sends it, `status` says at any time where it is. Nothing flows back but
//! acknowledgements. The log and the command format are a crate of their own, [`forebay_wal`].

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod alerts;
pub mod app;
pub mod auth;
pub mod backoff;
pub mod bounded_errors;
pub mod cloudevents;
pub mod config;
pub mod config_error;
pub mod consumer;
pub mod db;
pub mod drain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod history;
pub mod http;
pub mod ingest;
pub mod kafka;
pub mod kinds;
pub mod kv;
pub mod login;
pub mod metrics;
pub mod problems;
pub mod profile;
pub mod ratelimit;
pub mod status;
pub mod systemd;
pub mod task;
pub mod telemetry;
pub mod users;

pub use forebay_wal as wal;
pub use forebay_wal::{command, control, failpoint, secret_file, sync, units};
