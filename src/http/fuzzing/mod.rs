//! Fuzz targets: the bytes of a connection, and the lines of a batch.
#![allow(
    clippy::expect_used,
    reason = "a violated invariant must end the program, so that the fuzzer finds it"
)]

mod batch;
mod connection;
mod fake;

pub use batch::batch;
pub use connection::http;
