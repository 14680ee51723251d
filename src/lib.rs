//! forebay: a durable front end for Kafka.
//!
//! A command flows in one direction. `http` parses it and the schema of its kind validates it. `ingest` commits it,
//! `wal` stores it, `drain` sends it to Kafka, and `status` reports its state at any time. Only confirmations flow
//! back. The log and the command format are a separate crate, [`forebay_wal`].

// These macros panic if standard output is closed or the disk is full.
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
