//! The tool as operators run it: a separate process, on logs created with the library.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench_disk;
mod dead;
mod encrypted;
mod export;
mod reading;
mod repair;
mod replay;
mod support;
mod usage;
mod verify;
