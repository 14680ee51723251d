//! forebay: a durable front for Kafka.
//!
//! A command flows one way: `http` parses it, the schema of its kind decides whether it may enter, `ingest`
//! commits it, `wal` keeps it, `drain` sends it, `status` says at any time where it is. Nothing flows back but
//! acknowledgements. Without the `server` feature this library is the log and the command format alone.

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod command;
pub mod control;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod planted;
pub mod secret_file;
mod sync;
pub mod units;
pub mod wal;

#[cfg(feature = "server")]
pub mod alerts;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod backoff;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod consumer;
#[cfg(feature = "server")]
pub mod db;
#[cfg(feature = "server")]
pub mod drain;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod ingest;
#[cfg(feature = "server")]
pub mod kafka;
#[cfg(feature = "server")]
pub mod kinds;
#[cfg(feature = "server")]
pub mod kv;
#[cfg(feature = "server")]
pub mod login;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod mistake;
#[cfg(feature = "server")]
pub mod ratelimit;
#[cfg(feature = "server")]
pub mod reported;
#[cfg(feature = "server")]
pub mod status;
#[cfg(feature = "server")]
pub mod systemd;
#[cfg(feature = "server")]
pub mod task;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod users;
