//! Fuzzed: what comes over a connection, and the lines of a batch.
#![allow(clippy::expect_used, reason = "a broken promise ends the program: that is what fuzzing looks for")]

mod batch;
mod connection;
mod fake;

pub use batch::batch;
pub use connection::http;
