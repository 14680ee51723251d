//! The tool as its operators run it: a program of its own, on logs made with the library.
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
