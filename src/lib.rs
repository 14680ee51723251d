//! forebay: a durable front for Kafka.
//!
//! A command flows one way: `http` parses it, the schema of its kind decides whether it may enter, `ingest`
//! commits it, `wal` keeps it, `drain` sends it, `status` says at any time where it is. Nothing flows back but
//! acknowledgements. Without the `server` feature this library is the log and the command format alone.

pub mod command;
pub mod control;
pub mod units;
pub mod wal;

#[cfg(feature = "server")]
pub mod ingest;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod status;
