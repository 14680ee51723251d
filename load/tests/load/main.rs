//! Tests of the tool as its users run it: against a small server that the test controls, and against the daemon.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrival;
mod daemon;
mod endpoint;
mod kafka;
mod levels;
mod report;
mod server;
mod terminal;
mod tokens;
mod tool;
mod usage;
